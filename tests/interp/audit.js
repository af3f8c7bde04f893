// What keeps a page from being read by everybody: headings, names, labels, contrast. Returns the problems.
() => {
  const problems = [];
  const say = (what, element) => problems.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  const levels = [...document.querySelectorAll("h1,h2,h3,h4")].filter((h) => !h.closest("dialog, .circuit")).map((h) => Number(h.tagName[1]));
  levels.forEach((level, i) => { if (level > (levels[i - 1] ?? 0) + 1) problems.push(`heading ${i} skips to h${level}`); });
  for (const tag of ["header", "main", "footer", "h1"]) if (document.querySelectorAll(`body ${tag}`).length !== 1) problems.push(`not one ${tag}`);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) problems.push("ids repeat");
  document.querySelectorAll("input, select").forEach((e) => { if (!e.labels.length) say("no label", e); });
  document.querySelectorAll("button").forEach((e) => { if (!e.textContent.trim()) say("no name", e); });
  document.querySelectorAll("table").forEach((e) => { if (!e.caption) say("no caption", e); });
  document.querySelectorAll("th").forEach((e) => { if (!e.scope) say("no scope", e); });
  document.querySelectorAll("[role=img], [role=region]").forEach((e) => { if (!e.ariaLabel && !e.getAttribute("aria-label")) say("no label", e); });
  document.querySelectorAll("[aria-labelledby]").forEach((e) => { if (!document.getElementById(e.getAttribute("aria-labelledby"))) say("labelled by nothing", e); });
  // Contrast of all text outside figures, against the nearest opaque ground.
  const c = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colours = new Map();
  const parse = (text) => {
    if (!colours.has(text)) { c.clearRect(0, 0, 1, 1); c.fillStyle = text; c.fillRect(0, 0, 1, 1); colours.set(text, [...c.getImageData(0, 0, 1, 1).data]); }
    return colours.get(text);
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (let at = e; at; at = at.parentElement) { const c = parse(getComputedStyle(at).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255, 255]; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || seen.has(e) || e.closest("svg, script, style, noscript, .circuit, :disabled") || !e.checkVisibility()) continue;
    seen.add(e);
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) say(`contrast ${ratio.toFixed(2)}`, e);
  }
  return problems;
}
