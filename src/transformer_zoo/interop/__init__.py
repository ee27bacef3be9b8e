"""Models and tokenizers in and out of the Hugging Face format, one small file per family of models."""
