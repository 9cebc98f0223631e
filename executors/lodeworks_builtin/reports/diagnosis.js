(() => {
  const data = JSON.parse(document.getElementById("matches").textContent);
  const slider = document.getElementById("conf");
  const field = (name) => document.getElementById(name);
  const share = (value) => (Number.isFinite(value) ? value.toFixed(3) : "–");
  const show = () => {
    const conf = Number(slider.value);
    let tp = 0, fp = 0;
    for (let i = 0; i < data.scores.length && data.scores[i] >= conf; i += 1) { if (data.hits[i]) tp += 1; else fp += 1; }
    const fn = data.truths - tp;
    field("conf-value").textContent = conf.toFixed(2);
    field("tp").textContent = tp; field("fp").textContent = fp; field("fn").textContent = fn;
    field("p").textContent = share(tp / (tp + fp)); field("r").textContent = share(tp / (tp + fn));
    field("f1").textContent = share((2 * tp) / (2 * tp + fp + fn));
  };
  slider.addEventListener("input", show);
  show();
  const chips = [...document.querySelectorAll(".chips button")];
  const cards = [...document.querySelectorAll(".mistake")];
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      for (const other of chips) other.setAttribute("aria-pressed", String(other === chip));
      for (const card of cards) card.hidden = chip.dataset.kind !== "all" && card.dataset.kind !== chip.dataset.kind;
    });
  }
})();
