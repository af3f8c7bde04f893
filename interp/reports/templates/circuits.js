"use strict";
// One fact's attention, two models side by side, drawn by circuitsvis from data inside the page.
// Circuits.mount(element, fact, {left, right}) takes an entry of interp.viz.fact_views and two model names.
// The bundle is inlined once: as a script, or packed in <script type="text/plain" id="circuits-bundle">.
const Circuits = (() => {
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  let loading;
  const ready = () => {
    if (typeof CircuitsVis !== "undefined") return Promise.resolve();
    loading ??= new Response(
      new Blob([bytes(document.getElementById("circuits-bundle").textContent)])
        .stream().pipeThrough(new DecompressionStream("gzip")),
    ).text().then((code) => {
      const script = document.createElement("script");
      script.textContent = code;
      document.head.append(script);
    });
    return loading;
  };

  // A byte a cell, on and below the diagonal, row after row: see interp/circuits/facts.py.
  const unpack = (text, heads, length) => {
    const cells = bytes(text);
    let at = 0;
    const cell = (query, key) => (key <= query ? Math.round((1000 * cells[at++]) / 255) / 1000 : 0);
    const range = [...Array(length).keys()];
    return Array.from({ length: heads }, () => range.map((query) => range.map((key) => cell(query, key))));
  };

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // Tokens coloured by what the last one attends to, in one head.
  const strip = (fact, row) => {
    const line = make("p", "tokens");
    fact.tokens.forEach((token, i) => {
      const span = make("span", fact.subject[i] ? "token subject" : "token", token);
      span.style.setProperty("--v", row[i]);
      span.title = `${row[i]}`;
      line.append(span, " ");
    });
    return line;
  };

  let drawn = 0;
  const mount = (root, fact, chosen = {}) => {
    const names = Object.keys(fact.arms);
    const heads = fact.heads.map(([layer, head]) => `L${layer}H${head}`);
    const length = fact.tokens.length;
    const sides = ["left", "right"].map((side, i) => {
      const holder = make("div", "side");
      const label = make("label", "", "Model ");
      const select = make("select", "");
      names.forEach((name) => select.append(new Option(name, name)));
      select.value = chosen[side] ?? names[Math.min(i, names.length - 1)];
      label.append(select);
      const [looks, circuit] = [make("div", "looks"), make("div", "circuit")];
      holder.append(label, looks, circuit);
      return { holder, select, looks, circuit, patterns: [] };
    });
    let kept = 0;

    const look = (head) => sides.forEach((side) => {
      const arm = fact.arms[side.select.value];
      const [layer, index] = fact.heads[head];
      const mass = arm.mass[layer][index].toFixed(3);
      const said = make("p", "aside", `${heads[head]}: the last token's attention; on the subject ${mass}`);
      side.looks.replaceChildren(said, strip(fact, side.patterns[head][length - 1]));
    });
    // circuitsvis answers the mouse only: its small maps are made buttons, and a choice holds for both sides.
    const label = (circuit) => circuit.querySelectorAll("h4").forEach((name, i) => {
      const tile = name.parentElement.parentElement;
      if (tile.dataset.head) return;
      tile.dataset.head = String(i);
      tile.tabIndex = 0;
      tile.setAttribute("role", "button");
      tile.setAttribute("aria-label", `Head ${name.textContent}`);
      tile.addEventListener("mouseenter", () => look(i));
      tile.addEventListener("mouseleave", () => look(kept));
    });
    const choose = (head) => {
      kept = head;
      sides.forEach(({ circuit }) => circuit.querySelector(`[data-head="${head}"]`)?.click());
      look(head);
    };
    sides.forEach(({ circuit }) => {
      new MutationObserver(() => label(circuit)).observe(circuit, { childList: true, subtree: true });
      const tile = (event) => event.target.closest("[data-head]");
      circuit.addEventListener("keydown", (event) => {
        if ((event.key !== "Enter" && event.key !== " ") || !tile(event)) return;
        event.preventDefault();
        choose(Number(tile(event).dataset.head));
      });
      circuit.addEventListener("click", (event) => {
        if (event.isTrusted && tile(event)) choose(Number(tile(event).dataset.head));
      });
    });

    const draw = (side) => {
      side.patterns = unpack(fact.arms[side.select.value].patterns, heads.length, length);
      const place = make("div", "");
      place.id = `circuit-${(drawn += 1)}`;
      side.circuit.replaceChildren(place);
      CircuitsVis.render(place.id, CircuitsVis.AttentionHeads, {
        attention: side.patterns,
        attentionHeadNames: heads,
        tokens: fact.tokens.map((token, i) => (fact.subject[i] ? `\u25b8${token}` : token)),
        positiveColor: "#0072B2",
        maskUpperTri: true,
      });
    };
    return ready().then(() => {
      const pair = make("div", "sides");
      pair.append(...sides.map((side) => side.holder));
      root.replaceChildren(pair);
      sides.forEach((side) => {
        draw(side);
        side.select.addEventListener("change", () => { draw(side); look(kept); });
      });
      look(kept);
    });
  };
  return { mount, ready };
})();
