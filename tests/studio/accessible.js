// What a page may not lack: names of controls, contrast of text, one h1, a language, ids that are one thing's.
// Returns a list of sentences; an empty one is well.
const found = [];
const shown = (e) => e.checkVisibility({ checkOpacity: false, checkVisibilityCSS: true }) && e.getClientRects().length > 0;
const away = (e) => e.closest(".away, .skip, [aria-hidden=true]");
const name = (e) => (e.getAttribute("aria-label") || [...(e.labels ?? [])].map((l) => l.textContent).join(" ") ||
  (e.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ") ||
  e.textContent || [...e.querySelectorAll("img")].map((i) => i.alt).join(" ") || e.title || "").trim();
for (const e of document.querySelectorAll("button, a[href], input, select, textarea, progress, [role=img], dialog, summary"))
  if (shown(e) && !name(e)) found.push(`no name: ${e.outerHTML.slice(0, 120)}`);
for (const e of document.querySelectorAll("img")) if (!e.hasAttribute("alt")) found.push(`no alt: ${e.outerHTML.slice(0, 120)}`);
const h1 = [...document.querySelectorAll("h1")].filter(shown);
if (h1.length !== 1 && !document.querySelector(".empty")) found.push(`${h1.length} headings of the first level`);
if (!document.documentElement.lang) found.push("no language");
if (document.querySelectorAll("main").length !== 1) found.push("not one main part");
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
for (const id of new Set(ids.filter((id, n) => ids.indexOf(id) !== n))) found.push(`id twice: ${id}`);

const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
const behind = (e) => {
  let colour = [255, 255, 255];
  const layers = [];
  for (let at = e; at; at = at.parentElement) { const c = rgba(getComputedStyle(at).backgroundColor); if (c[3]) layers.unshift(c); if (c[3] === 255) break; }
  for (const [r, g, b, a] of layers) colour = [r, g, b].map((v, n) => v * a / 255 + colour[n] * (1 - a / 255));
  return colour;
};
const light = (c) => c.slice(0, 3).map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }).reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
for (const e of document.querySelectorAll("body *")) {
  const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!text || !shown(e) || away(e) || e.closest(":disabled, select, svg")) continue;
  const style = getComputedStyle(e), [a, b] = [light(rgba(style.color)), light(behind(e))].sort((x, y) => y - x);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < (large ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)}: ${e.tagName} ${e.className} "${e.textContent.trim().slice(0, 40)}"`);
}
if (document.documentElement.scrollWidth > innerWidth + 1) found.push(`wider than the screen: ${document.documentElement.scrollWidth} of ${innerWidth}`);
return found;
