// A formula that is wider than its column scrolls in itself. It must be in the tab order then, for keyboards to reach it.
const reachFormulas = () => {
  for (const formula of document.querySelectorAll("mjx-container")) {
    if (formula.scrollWidth > formula.clientWidth + 1) formula.tabIndex = 0;
    else formula.removeAttribute("tabindex");
  }
};

window.addEventListener("load", async () => {
  if (!window.MathJax?.startup) return;
  await window.MathJax.startup.promise;
  reachFormulas();
  window.addEventListener("resize", reachFormulas);
});
