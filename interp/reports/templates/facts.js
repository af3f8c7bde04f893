"use strict";
// The table of facts: columns are arrays, rows are indices into them, and only one page of rows is drawn.
const FACTS = (() => {
  const data = JSON.parse(document.getElementById("fact-data").textContent);
  const PAGE = 25;
  const at = (id) => document.getElementById(id);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  // One arm's part of a column; a column of facts is the same for every arm.
  const part = (column, arm) => (column.arms ? column.arms[arm] : column);
  const word = (held, i) => (held.values[i] < 0 ? null : held.words[held.values[i]]);
  const written = (column, value) => {
    if (value === null) return "";
    if (column.digits === 0) return String(value);
    if (column.digits === null) return value >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
    const text = Math.abs(value).toFixed(column.digits);
    const sign = Number(text) === 0 ? "" : value < 0 ? "\u2212" : column.signed ? "+" : "";
    return sign + text;
  };
  const shown = (column, arm, i) => {
    const held = part(column, arm);
    if (column.kind === "number") return written(column, held.values[i]);
    if (column.kind === "flag") return held.values[i] === null ? "" : held.values[i] ? "yes" : "no";
    return word(held, i) ?? "";
  };
  const named = (title, arm) => title.replace("{arm}", arm).replace("{reference}", data.reference[arm]);
  // What was said, with a sign for right or wrong that is read out as a word.
  const marked = (right, text) => {
    const parts = [];
    if (right !== null && right !== undefined) {
      parts.push(make("span", { className: right ? "hit" : "miss", textContent: right ? "\u2713\u00a0" : "\u2717\u00a0", ariaHidden: "true" }));
      parts.push(make("span", { className: "unseen", textContent: right ? "right: " : "wrong: " }));
    }
    parts.push(text || "no answer");
    return parts;
  };
  const slug = (text) => text.replace(/\s+/g, "-");
  const pictureOf = (i) => (data.seeds[i] === data.picturesSeed ? data.pictures[data.ids[i]] : undefined);

  const columns = data.columns.filter((column) => !column.detail);
  const state = { arm: data.arms[Number(at("arm").value)], sort: null, down: false, page: 0, rows: [] };
  const filters = new Map();

  // What a column is filtered by: the words of a text, right or wrong of an answer, yes or no of a flag.
  const choice = (column, arm, i) => {
    const held = part(column, arm);
    if (column.kind === "said") return held.right[i] === null ? "" : held.right[i] ? "right" : "wrong";
    return shown(column, arm, i);
  };
  const options = (column) => {
    if (column.kind === "said") return ["right", "wrong"];
    if (column.kind === "flag") return ["yes", "no"];
    const words = (column.arms ? Object.values(column.arms) : [column]).flatMap((held) => held.words);
    return [...new Set(words)].sort(collator.compare);
  };
  const label = (column) => (column.kind === "said" ? "Answer" : column.title);

  const searched = new Map();
  const haystack = () => {
    if (!searched.has(state.arm)) {
      const texts = data.columns.filter((c) => c.kind === "text" || c.kind === "said");
      searched.set(state.arm, data.ids.map((id, i) => `${texts.map((c) => shown(c, state.arm, i)).join("\n")}\n${id}`.toLowerCase()));
    }
    return searched.get(state.arm);
  };
  const keys = (column) => {
    const held = part(column, state.arm);
    if (column.kind === "number" || column.kind === "flag") return held.values;
    const order = held.words.map((_, i) => i).sort((a, b) => collator.compare(held.words[a], held.words[b]));
    const rank = [];
    order.forEach((index, place) => { rank[index] = place; });
    return held.values.map((v, i) => (v < 0 ? null : rank[v] + (held.right?.[i] ? 0 : held.right ? held.words.length : 0)));
  };

  const select = () => {
    const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = words.length ? haystack() : null;
    const wanted = [...filters].filter(([, menu]) => menu.value);
    const kept = at("kept")?.checked;
    const rows = [];
    for (let i = 0; i < data.ids.length; i += 1) {
      if (text && !words.every((w) => text[i].includes(w))) continue;
      if (kept && !pictureOf(i)) continue;
      if (wanted.every(([column, menu]) => choice(column, state.arm, i) === menu.value)) rows.push(i);
    }
    if (state.sort) {
      const key = keys(state.sort);
      const sign = state.down ? -1 : 1;
      // What was not measured stands last, whichever way the column is sorted.
      rows.sort((a, b) => (key[a] === null) - (key[b] === null) || sign * (key[a] - key[b]) || a - b);
    }
    state.rows = rows;
    state.page = 0;
    draw();
  };

  const cell = (column, i) => {
    const held = part(column, state.arm);
    if (column.key === "subject") {
      const button = make("button", { type: "button", className: "fact", textContent: shown(column, state.arm, i) });
      button.setAttribute("aria-haspopup", "dialog");
      const head = make("th", { scope: "row" }, button);
      if (pictureOf(i)) head.append(make("span", { className: "kept", title: "its attention is in this page" }, make("span", { className: "unseen", textContent: "(with attention)" })));
      return head;
    }
    const td = make("td", { className: column.kind === "number" ? "right" : "" });
    if (column.kind === "said") td.append(...(held.values[i] < 0 ? [] : marked(held.right[i], word(held, i))));
    else if (column.key === "verdict" || column.key === "truth") {
      const text = shown(column, state.arm, i);
      if (text) td.append(make("span", { className: `verdict ${slug(text)}`, textContent: text }));
    } else td.textContent = shown(column, state.arm, i);
    return td;
  };

  const head = () => {
    const row = make("tr");
    for (const column of columns) {
      const th = make("th", { scope: "col", className: column.kind === "number" ? "right" : "" });
      th.setAttribute("aria-sort", state.sort === column ? (state.down ? "descending" : "ascending") : "none");
      const button = make("button", { type: "button", textContent: named(column.title, state.arm) });
      button.addEventListener("click", () => {
        state.down = state.sort === column && !state.down;
        state.sort = column;
        select();
        at("fact-table").tHead.rows[0].cells[columns.indexOf(column)].firstChild.focus();
      });
      th.append(button);
      row.append(th);
    }
    at("fact-table").tHead.replaceChildren(row);
  };

  const count = (n) => n.toLocaleString("en");
  const draw = () => {
    head();
    const from = state.page * PAGE;
    const rows = state.rows.slice(from, from + PAGE).map((i) => {
      const row = make("tr", {}, ...columns.map((column) => cell(column, i)));
      row.dataset.row = i;
      return row;
    });
    at("fact-table").tBodies[0].replaceChildren(...rows);
    const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
    at("shown").textContent = `${count(state.rows.length)} of ${count(data.ids.length)} facts`;
    at("place").textContent = state.rows.length ? `${count(from + 1)}\u2013${count(Math.min(from + PAGE, state.rows.length))} of ${count(state.rows.length)}` : "no fact fits";
    at("previous").disabled = state.page === 0;
    at("next").disabled = state.page >= pages - 1;
  };
  const turn = (by) => {
    state.page += by;
    draw();
    at("fact-table").scrollIntoView({ block: "start" });
  };

  for (const column of data.columns.filter((c) => c.filter)) {
    const menu = make("select", {}, make("option", { value: "", textContent: "any" }));
    menu.append(...options(column).map((text) => make("option", { value: text, textContent: text })));
    menu.addEventListener("change", select);
    filters.set(column, menu);
    at("filters").append(make("label", {}, `${label(column)} `, menu));
  }
  at("search").addEventListener("input", select);
  at("kept")?.addEventListener("change", select);
  at("arm").addEventListener("change", () => {
    state.arm = data.arms[Number(at("arm").value)];
    select();
  });
  at("reset").addEventListener("click", () => {
    at("search").value = "";
    filters.forEach((menu) => { menu.value = ""; });
    if (at("kept")) at("kept").checked = false;
    state.sort = null;
    state.down = false;
    select();
  });
  at("previous").addEventListener("click", () => turn(-1));
  at("next").addEventListener("click", () => turn(1));
  at("fact-table").addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr");
    if (row && !String(window.getSelection())) FACT.open(Number(row.dataset.row), state.arm);
  });
  at("fact-table").addEventListener("keydown", (event) => {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const other = step && event.target.closest("tbody tr")?.[step]?.querySelector("button.fact");
    if (other) {
      event.preventDefault();
      other.focus();
    }
  });
  at("fact-browser").hidden = false;
  // Classic scripts run in order: FACT is there by the first click.
  queueMicrotask(select);
  return { data, make, at, part, word, shown, named, marked, pictureOf };
})();
