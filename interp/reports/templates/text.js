"use strict";
// Colour each line's tokens by the chosen row of values: [model][choice][token].
(() => {
  const { most, signed, values } = JSON.parse(document.getElementById("data").textContent);
  const choice = document.getElementById("choice");
  const colour = () => document.querySelectorAll("[data-model]").forEach((line) => {
    const row = values[Number(line.dataset.model)][Number(choice.value)];
    line.querySelectorAll(".token").forEach((token, i) => {
      token.style.setProperty("--v", Math.abs(row[i]) / most);
      token.classList.toggle("more", signed && row[i] > 0);
      token.classList.toggle("less", row[i] < 0);
      token.title = String(row[i]);
    });
  });
  choice.addEventListener("change", colour);
  colour();
  const still = document.getElementById("picture");
  if (still) still.open = false;
})();
