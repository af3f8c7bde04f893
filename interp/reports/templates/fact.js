// One fact: what each model said of it, and its attention before and after where the page has it.
const FACT = (() => {
  const { data, make, at, part, word, shown, named, marked, pictureOf } = FACTS;
  const dialog = at("fact");
  const column = (key) => data.columns.find((each) => each.key === key);

  const term = (name, value) => [make("dt", { textContent: name }), make("dd", { textContent: value })];
  const facts = (i, picture) => {
    const list = make("dl", { className: "pairs" });
    if (picture?.prompt) list.append(...term("Prompt", picture.prompt));
    list.append(...term("Accepted", picture?.answers?.join(" \u00b7 ") ?? shown(column("answer"), "", i)));
    for (const key of ["popularity", "quartile", "seed", "known"]) {
      const each = column(key);
      if (each && shown(each, "", i)) list.append(...term(each.title, shown(each, "", i)));
    }
    list.append(make("dt", { textContent: "Fact" }), make("dd", {}, make("code", { textContent: data.ids[i] })));
    return list;
  };

  const models = (i, chosen) => {
    const columns = data.columns.filter((each) => each.arms && each.key !== "said");
    const title = (each) => each.title.replace("Against {reference}", "Change of attention");
    const head = make("tr", {}, ...["Model", "Says"].map((text) => make("th", { scope: "col", textContent: text })),
      ...columns.map((each) => make("th", { scope: "col", className: each.kind === "number" ? "right" : "", textContent: title(each) })));
    const body = make("tbody");
    const base = column("base");
    if (base) {
      const said = base.values[i] < 0 ? [] : marked(base.right?.[i], word(base, i));
      body.append(make("tr", {}, make("th", { scope: "row", textContent: "base" }), make("td", {}, ...said), ...columns.map(() => make("td"))));
    }
    for (const arm of data.arms) {
      const held = part(column("said"), arm);
      const said = held.values[i] < 0 ? [] : marked(held.right[i], word(held, i));
      body.append(make("tr", { className: arm === chosen ? "chosen" : "" }, make("th", { scope: "row", textContent: arm }), make("td", {}, ...said),
        ...columns.map((each) => make("td", { className: each.kind === "number" ? "right" : "", textContent: shown(each, arm, i) }))));
    }
    const table = make("table", {}, make("caption", { className: "unseen", textContent: "What each model said" }), make("thead", {}, head), body);
    const holder = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "What each model said" }, table);
    return holder;
  };

  // Of some facts only the last token's row is kept, mean over heads: a line of tokens a model.
  const strip = (picture, name) => {
    const row = picture.rows[name];
    const line = make("p", { className: "tokens" });
    picture.tokens.forEach((token, k) => {
      const piece = make("span", { className: picture.subject[k] ? "token subject" : "token", title: row[k], textContent: token });
      piece.style.setProperty("--v", row[k]);
      line.append(piece, " ");
    });
    const mass = row.reduce((sum, value, k) => sum + (picture.subject[k] ? value : 0), 0);
    const words = `${name}: mean of all heads; on the subject ${mass.toFixed(3)}`;
    return make("div", { className: "looks" }, make("p", { className: "aside", textContent: words }), line);
  };

  const attention = (picture, chosen) => {
    const section = make("section", {}, make("h3", { textContent: "What the last prompt token attends to, before and after" }));
    const before = data.reference[chosen];
    if (!picture.arms) {
      const names = Object.keys(picture.rows).sort((a, b) => (b === before) - (a === before));
      section.append(...names.map((name) => strip(picture, name)));
      return section;
    }
    const names = Object.keys(picture.arms);
    const left = names.includes(before) ? before : names[0];
    const right = names.includes(chosen) ? chosen : names.find((name) => name !== left) ?? left;
    const root = make("div");
    section.append(make("p", { className: "aside", textContent: "Heads in order of how much the subject's share changed. Point at one to see it; click it, or press Enter on it, to keep it, on both sides. Rows attend, columns are attended to; the subject's tokens are underlined or bear a \u25b8." }), root);
    // Drawn when the dialog is open: circuitsvis measures its place.
    requestAnimationFrame(() => Circuits.mount(root, picture, { left, right }));
    return section;
  };

  // JSON's strings are Python's, too.
  const quoted = (text) => JSON.stringify(text);
  const elsewhere = (i, arm) => {
    const places = data.checkpoints[data.seeds[i]] ?? {};
    const place = (name) => quoted(places[name] ?? `path/to/${name}`);
    const [subject, relation, answer] = ["subject", "relation", "answer"].map((key) => shown(column(key), arm, i));
    const code = [
      "from finetune import Fact",
      "from interp import load_pair",
      "from interp.viz import attention_view",
      "",
      `pair = load_pair(${place("base")}, ${place(arm)})`,
      `attention_view(pair, Fact(id=${quoted(data.ids[i])}, subject=${quoted(subject)}, relation=${quoted(relation)}, answers=(${quoted(answer)},)))`,
    ].join("\n");
    return make("section", {}, make("h3", { textContent: "Attention before and after" }),
      make("p", { className: "aside", textContent: "This page does not hold this fact's attention. In a notebook, with the checkpoints at hand (asked in plain words; give a Prompt instead of the Fact to ask as the run did):" }),
      make("pre", { tabIndex: 0 }, make("code", { textContent: code })));
  };

  const open = (i, arm) => {
    const picture = pictureOf(i);
    at("fact-title").textContent = `${shown(column("subject"), "", i)}, ${shown(column("relation"), "", i)}`;
    at("fact-body").replaceChildren(facts(i, picture), models(i, arm), picture ? attention(picture, arm) : elsewhere(i, arm));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };
  at("close").addEventListener("click", () => dialog.close());
  // A click on what is behind the dialog closes it.
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.querySelectorAll("button[data-fact]").forEach((button) => {
    const i = data.ids.findIndex((id, k) => id === button.dataset.fact && pictureOf(k));
    if (i < 0) return;
    const { arms } = data;
    button.disabled = false;
    button.addEventListener("click", () => open(i, arms.includes("bottom") ? "bottom" : arms[0]));
  });
  return { open };
})();
