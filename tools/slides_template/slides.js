// Draw the math, shrink the slides that are too full, then start the deck.
(async () => {
  const SMALLEST = 0.7;
  const deck = document.querySelector(".reveal");

  const tooFull = slide => {
    const area = slide.getBoundingClientRect();
    const style = getComputedStyle(slide);
    const right = area.right - parseFloat(style.paddingRight) + 1;
    const bottom = area.bottom - parseFloat(style.paddingBottom) + 1;
    const shown = slide.querySelectorAll(":scope *:not(aside.notes, aside.notes *, mjx-assistive-mml, mjx-assistive-mml *)");
    return [...shown].some(element => {
      const box = element.getBoundingClientRect();
      return box.right > right || box.bottom > bottom || element.scrollWidth > element.clientWidth + 1 && element.matches("pre");
    });
  };

  let section = "";
  for (const slide of deck.querySelectorAll(".fit")) {
    const headings = [...slide.querySelectorAll("h2")];
    if (!slide.querySelector("h1, h2")) slide.insertAdjacentHTML("beforeend", `<p class="section">${section}</p>`);
    section = headings.at(-1)?.innerHTML ?? section;
  }

  await MathJax.startup.promise;
  await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
  const boxes = [...deck.querySelectorAll("details:not([open])")];
  boxes.forEach(box => { box.open = true; });
  deck.classList.add("measuring");
  for (const slide of deck.querySelectorAll(".fit")) {
    for (let size = 1; size >= SMALLEST; size -= 0.05) {
      slide.style.fontSize = `${size}em`;
      slide.dataset.size = size.toFixed(2);
      if (!tooFull(slide)) break;
    }
  }
  deck.classList.remove("measuring");
  if (!location.search.includes("print-pdf")) boxes.forEach(box => { box.open = false; });

  // A slider keeps the arrow keys while it has the focus; the keys of a presenter's clicker turn pages all the same.
  for (const slider of deck.querySelectorAll("input[type=range]")) {
    slider.addEventListener("keydown", event => {
      const turn = {PageDown: () => Reveal.next(), PageUp: () => Reveal.prev(), Escape: () => {}}[event.key];
      if (!turn) return;
      event.preventDefault();
      event.stopPropagation();
      slider.blur();
      turn();
    });
    slider.addEventListener("pointerup", () => slider.blur());
  }

  await Reveal.initialize({
    width: 1280,
    height: 720,
    margin: 0,
    center: false,
    hash: true,
    transition: "none",
    slideNumber: "c/t",
    pdfSeparateFragments: false,
    plugins: [RevealNotes],
  });
})();
