"""A script as users of Hugging Face's Trainer write it: masked-LM training of a small BERT on rows that were tokenised and packed before.

`python -m transformer_zoo.benchmark.hugging_face_training JOB.json`; nothing of ours is imported. The job: `rows` (a data set on disk), `tokenizer`
(a tokenizer.json), `output` (a folder), `model` (settings of BertConfig), `learning_rate`, `batch_size`, `steps`, `warmup_steps`, `cpu`.
"""

import json
import sys
from pathlib import Path


def main(path: str) -> None:
    """Trains, and saves the model as scripts do at their end."""
    from datasets import load_from_disk
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        PreTrainedTokenizerFast,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    job = json.loads(Path(path).read_text(encoding="utf-8"))
    set_seed(0)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=job["tokenizer"], unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )
    trainer = Trainer(
        model=BertForMaskedLM(BertConfig(**job["model"], attn_implementation="sdpa")),
        args=TrainingArguments(
            output_dir=job["output"],
            per_device_train_batch_size=job["batch_size"],
            max_steps=job["steps"],
            learning_rate=job["learning_rate"],
            warmup_steps=job["warmup_steps"],
            weight_decay=0.01,
            optim="adamw_torch_fused",
            logging_steps=10,
            eval_strategy="no",
            save_strategy="no",
            report_to="none",
            use_cpu=job["cpu"],
        ),
        train_dataset=load_from_disk(job["rows"]),
        data_collator=DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=0.15),
    )
    trainer.train()
    trainer.save_model()
    Path(job["output"], "log.json").write_text(json.dumps(trainer.state.log_history), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
