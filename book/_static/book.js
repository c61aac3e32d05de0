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

// MathJax and the widget manager are heavy: they are asked for when the first formula or interactive figure comes
// into view (near it, once the reader scrolls), or when the page is printed. book/tools/lighter.py has put their
// addresses into the page's head.
document.addEventListener("DOMContentLoaded", () => {
  // The widget manager waits for the page to be loaded; a page that is loaded will not say so again.
  const listen = window.addEventListener;
  window.addEventListener = (kind, act, ...more) =>
    kind === "load" && document.readyState === "complete"
      ? setTimeout(act)
      : listen.call(window, kind, act, ...more);
  const later = (name, places) => {
    const address = document.querySelector(`meta[name="later-${name}"]`)?.content;
    if (!address || !places.length) return;
    let asked = false;
    const ask = () => {
      if (asked) return;
      asked = true;
      watch?.disconnect();
      const script = document.createElement("script");
      script.src = address;
      document.head.append(script);
    };
    const near = (seen) => seen.some((one) => one.isIntersecting) && ask();
    const look = (margin) => {
      watch?.disconnect();
      if (asked) return;
      watch = new IntersectionObserver(near, { rootMargin: margin });
      places.forEach((place) => watch.observe(place));
    };
    let watch;
    if (window.IntersectionObserver) {
      // Nobody waits for what stands below the first screen; who has begun to scroll will soon be there.
      look("0px");
      window.addEventListener("scroll", () => look("600px"), { once: true });
    } else ask();
    window.addEventListener("beforeprint", ask);
  };
  later("mathjax", document.querySelectorAll(".math"));
  const views = document.querySelectorAll('script[type$="widget-view+json"]');
  later("widgets", [...views].map((view) => view.parentElement));
});

// The theme lets a keyboard reach code that is wider than the page, but looks only once, when what is folded has no
// width yet. So look again when something opens.
{
  const reachable = () => {
    for (const code of document.querySelectorAll("pre")) if (code.scrollWidth > code.clientWidth) code.tabIndex = 0;
  };
  for (const opening of ["toggle", "click", "keyup"])
    document.addEventListener(opening, () => setTimeout(reachable, 50), true);
  window.addEventListener("beforeprint", () => setTimeout(reachable, 50));
}
