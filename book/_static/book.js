// ipywidgets hands every label to version 2 of MathJax. The pages have version 3, which lacks its queue and
// would throw; no label holds a formula, so the queue may stay empty.
{
  const withQueue = (mathJax) => {
    if (mathJax && !mathJax.Hub) Object.defineProperty(mathJax, "Hub", { value: { Queue() {} } });
    return mathJax;
  };
  let current = withQueue(window.MathJax);
  Object.defineProperty(window, "MathJax", {
    configurable: true,
    get: () => current,
    set: (mathJax) => (current = withQueue(mathJax)),
  });
}

// The slider handles of ipywidgets have no accessible name, and a selection slider tells its position by
// number only. Copy the visible label and the visible value to where a screen reader looks.
(() => {
  const set = (node, name, value) => {
    if (value && node.getAttribute(name) !== value) node.setAttribute(name, value);
  };
  const nameHandles = () => {
    for (const handle of document.querySelectorAll(".noUi-handle")) {
      const box = handle.closest(".widget-inline-hbox");
      if (!box) continue;
      set(handle, "aria-label", box.querySelector(".widget-label")?.textContent.trim());
      set(handle, "aria-valuetext", box.querySelector(".widget-readout")?.textContent.trim());
    }
  };
  document.addEventListener("DOMContentLoaded", () => {
    const changes = { childList: true, subtree: true, characterData: true, attributeFilter: ["aria-valuenow"] };
    new MutationObserver(nameHandles).observe(document.body, changes);
    nameHandles();
  });
})();
