
// Sortable tables and copy buttons; then everything of the page is brought to life. Stands behind curves.js and legend.js in one script.

// --- tables ----------------------------------------------------------------------------------------------------------------------

function sortable(table) {
  const body = table.tBodies[0];
  if (!body || body.rows.length < 2) return;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = make("button", { type: "button", title: "sort" }, head.textContent.trim() || "name");
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", direction);
      body.append(...sorted([...body.rows], column, direction === "ascending" ? 1 : -1));
    });
  });
}

// The number that a cell begins with (2.31 ± 0.02, 1.2M, 2 of 3), NaN for words.
function amount(text) {
  const found = /^[-+−]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?([kMGT](?![a-z]))?/i.exec(text.trim().replace("−", "-").replace(/,(?=\d{3})/g, ""));
  if (!found) return NaN;
  const unit = UNITS.find(([name]) => name === found[3]);
  return parseFloat(found[0]) * (unit ? unit[1] : 1);
}

// Numbers by size where most cells are numbers, else words by letters; what is not known (–, or in words why) stays at the end either way.
function sorted(rows, column, sign) {
  const keyed = rows.map(row => [row.cells[column].textContent, row]).map(([text, row]) => ({ text, row, size: amount(text) }));
  const told = keyed.filter(({ text }) => text !== "–" && text !== "");
  const numbers = told.filter(({ size }) => !Number.isNaN(size)), numeric = 2 * numbers.length > told.length;
  const known = numeric ? numbers : told;
  known.sort((a, b) => sign * (numeric ? a.size - b.size : a.text.localeCompare(b.text, "en", { numeric: true })));
  return [...known, ...keyed.filter(one => !known.includes(one))].map(({ row }) => row);
}

// --- commands --------------------------------------------------------------------------------------------------------------------

function copyable(block) {
  const code = block.querySelector("code"), button = make("button", { type: "button" }, "copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
  block.append(button);
}

document.querySelectorAll("table").forEach(sortable);
document.querySelectorAll(".command").forEach(copyable);
const live = document.getElementById("curves"), told = JSON.parse(document.getElementById("report-data").textContent);
if (live && told.charts) curves(live, told);
