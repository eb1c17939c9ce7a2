/* What the theme and its extensions leave out for readers with a keyboard or a screen reader. */

document.addEventListener("DOMContentLoaded", () => {
  // The theme wires the first button of each kind, which its own style sheet hides (pydata-sphinx-theme#2451): on a
  // phone menu and contents would not open.
  for (const kind of [".primary-toggle", ".secondary-toggle"]) {
    const [wired, ...idle] = document.querySelectorAll(kind);
    idle.forEach(button => button.addEventListener("click", () => wired.click()));
  }

  // The arrows of the menu have no name.
  document.querySelectorAll("#pst-primary-sidebar li.has-children > details > summary").forEach(arrow => {
    const chapter = arrow.closest("li").querySelector("a").textContent.trim();
    arrow.setAttribute("aria-label", `Pages of ${chapter}`);
  });

  // A list of references is said to be a list and holds no list items.
  document.querySelectorAll(".citation-list[role=list]").forEach(list => list.removeAttribute("role"));

  // "Show code cell source" is read as "Toggle hidden content", which says less.
  document.querySelectorAll("details.hide > summary[aria-label]").forEach(one => one.removeAttribute("aria-label"));

  // A formula wider than the screen scrolls by itself, so the keyboard must reach it. The theme does this for tables.
  const reachable = () => {
    document.querySelectorAll("mjx-container[display=true]").forEach(formula => {
      formula.tabIndex = formula.scrollWidth > formula.clientWidth ? 0 : -1;
    });
  };
  let soon;
  window.addEventListener("resize", () => { clearTimeout(soon); soon = setTimeout(reachable, 300); });
  window.MathJax?.startup?.promise?.then(reachable);
});
