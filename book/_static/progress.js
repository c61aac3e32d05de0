// The page "Your progress": ticks that stay in this browser, in the form of the file that the notebooks keep.
(() => {
  const KEY = "small-networks-progress";
  const BOOK = "Small networks"; // as compresslab/teaching/progress.py writes it
  const part = (name) => document.getElementById(`progress-${name}`);
  const boxes = [...document.querySelectorAll("#progress-table input")];

  // What is no list of ticks of ours counts as none.
  const ticksOf = (text) => {
    try {
      const told = JSON.parse(text);
      return told.book === BOOK && typeof told.solved === "object" ? { ...told.solved } : null;
    } catch {
      return null;
    }
  };
  const written = (ticks) => JSON.stringify({ book: BOOK, solved: ticks }, null, 1);
  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };

  let ticks = ticksOf(stored()) ?? {};

  const count = (chapters) => {
    const asked = boxes.filter((box) => box.name.includes("-") !== chapters);
    return `${asked.filter((box) => box.checked).length} of ${asked.length}`;
  };
  const show = (more = "") => {
    for (const box of boxes) box.checked = box.name in ticks;
    part("status").textContent = `${count(true)} chapters read, ${count(false)} exercises solved.${more}`;
  };
  const keep = (more) => {
    try {
      localStorage.setItem(KEY, written(ticks));
    } catch {
      more = " This browser keeps nothing: save the ticks as a file.";
    }
    show(more);
  };

  document.getElementById("progress-table").addEventListener("change", ({ target }) => {
    if (target.checked) ticks[target.name] ??= new Date().toISOString().slice(0, 10);
    else delete ticks[target.name];
    keep();
  });
  part("load").addEventListener("change", async ({ target }) => {
    const found = ticksOf(await target.files[0].text());
    target.value = ""; // so that the same file can be taken again
    if (!found) return show(" That file holds no ticks of this book.");
    ticks = { ...found, ...ticks };
    keep(" The file's ticks were added.");
  });
  part("save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([written(ticks)], { type: "application/json" }));
    link.download = "progress.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  part("forget").addEventListener("click", () => {
    ticks = {};
    try {
      localStorage.removeItem(KEY);
    } catch {} // then nothing was kept
    show(" All is forgotten.");
  });
  window.addEventListener("storage", ({ key, newValue }) => {
    if (key !== null && key !== KEY) return; // another window ticked, or forgot
    ticks = ticksOf(newValue) ?? {};
    show();
  });
  part("without").hidden = true;
  part("tools").hidden = false;
  show();
})();
