"use strict";
// Sorting and searching the table of facts. Rows stay in the document, so that print and Ctrl-F find them.
(() => {
  const table = document.getElementById("fact-table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const text = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const keys = (column) => new Map(rows.map((row) => {
    const cell = row.cells[column];
    return [row, cell.dataset.sort === undefined ? cell.textContent : Number(cell.dataset.sort)];
  }));
  const compare = (a, b) => (typeof a === "number" ? a - b : order.compare(a, b));

  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = keys(column);
      body.append(...rows.sort((a, b) => (down ? -1 : 1) * compare(key.get(a), key.get(b))));
    });
  });

  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => text.get(row).includes(word));
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
  };
  search.addEventListener("input", filter);
  search.closest("p").hidden = false;
  filter();
})();

// One fact's attention: two models side by side, drawn by circuitsvis from data inside the page.
(() => {
  const data = document.getElementById("circuit-data");
  if (!data || typeof CircuitsVis === "undefined") return;
  const views = JSON.parse(data.textContent);
  const holders = ["left", "right"].map((side) => document.getElementById(`circuit-${side}`));
  let drawn = 0;

  const draw = (side, index) => {
    const holder = document.getElementById(`circuit-${side}`);
    const mount = document.createElement("div");
    mount.id = `circuit-mount-${(drawn += 1)}`;
    holder.replaceChildren(mount);
    CircuitsVis.render(mount.id, CircuitsVis.AttentionHeads, views[index]);
  };
  // circuitsvis answers the mouse only: its small maps are made buttons, and a choice holds for both sides.
  const label = (holder) => {
    holder.querySelectorAll("h4").forEach((name, i) => {
      const tile = name.parentElement.parentElement;
      if (tile.dataset.head) return;
      tile.dataset.head = String(i);
      tile.tabIndex = 0;
      tile.setAttribute("role", "button");
      tile.setAttribute("aria-label", `Head ${name.textContent}`);
    });
  };
  holders.forEach((holder, i) => {
    new MutationObserver(() => label(holder)).observe(holder, { childList: true, subtree: true });
    holder.addEventListener("keydown", (event) => {
      if ((event.key === "Enter" || event.key === " ") && event.target.dataset.head) {
        event.preventDefault();
        holders.forEach((each) => each.querySelector(`[data-head="${event.target.dataset.head}"]`)?.click());
      }
    });
    holder.addEventListener("click", (event) => {
      const tile = event.target.closest("[data-head]");
      if (tile && event.isTrusted) holders[1 - i].querySelector(`[data-head="${tile.dataset.head}"]`)?.click();
    });
  });
  document.querySelector(".interactive").hidden = false;
  document.querySelectorAll("select[data-side]").forEach((select) => {
    select.addEventListener("change", () => draw(select.dataset.side, Number(select.value)));
    draw(select.dataset.side, Number(select.value));
  });
})();
