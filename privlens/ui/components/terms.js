// Explains the words of the glossary where the page uses them: a dotted line below a word, and its meaning at a hover, at the focus and
// at a tap. Esc takes it away. `privlens.glossary` is a list of {words, meaning, ordinary}; everything is set as text.
//
// Only our own texts are looked at: names of numbers and columns, where a word is explained once in a part, and sentences, where it is
// explained once in a tab. Never a text that holds a private value: `mask.js` hides those by the text they stand in, which must stay
// whole. Most texts are gradio's: a text node of its own stays where it is, cut short, with the rest behind it, and all of that goes
// when gradio writes into it again.
window.privlens = window.privlens || {};
(() => {
  const NAMES = '.fact-name, .results-table .label p, .results-table th .header.text';
  const SENTENCES = '.verdict > span, .marked-label, [data-testid="markdown"], [data-testid="block-info"]';
  const NOT_IN = 'a, button, summary, code, input, textarea, svg, dfn, [aria-hidden="true"]';
  const GAP = 8, EDGE = 8, LATER = 150;  // pixels from the word and from the window's edge; milliseconds until a hover counts
  const entries = privlens.glossary.map((entry, place) => ({ ...entry, id: `term-${place}` }));
  const byWord = new Map(entries.flatMap(entry => entry.words.map(word => [word.toLowerCase(), entry])));
  const words = [...byWord.keys()].sort((a, b) => b.length - a.length).map(word => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}_-])(${words.join('|')})(s?)(?![\\p{L}\\p{N}_]|[-.][\\p{L}\\p{N}])`, 'giu');
  const pieces = new WeakMap();  // of a text that was cut: what is left of it, and the nodes behind it

  // An abbreviation is meant only where it stands in capitals: ES is no Spanish pronoun.
  const meant = (entry, said) => entry.words.some(word => word.toLowerCase() === said.toLowerCase() && (word !== word.toUpperCase() || word === said));

  function hits(text, name, used) {
    const found = [];
    for (const match of text.matchAll(pattern)) {
      const entry = byWord.get(match[1].toLowerCase());
      if (used.has(entry.id) || (entry.ordinary && !name) || !meant(entry, match[1])) continue;
      used.add(entry.id);
      found.push([match.index, match.index + match[0].length, entry]);
    }
    return found;
  }

  function tip(entry) {
    const there = document.getElementById(entry.id);
    if (there) return there;
    const box = Object.assign(document.createElement('div'), { id: entry.id, className: 'term-tip', hidden: true });
    box.setAttribute('role', 'tooltip');
    box.append(Object.assign(document.createElement('strong'), { textContent: entry.words.join(', ') }), ` ${entry.meaning}`);
    document.body.append(box);
    return box;
  }

  function term(text, entry) {
    const word = Object.assign(document.createElement('dfn'), { className: 'term', tabIndex: 0, textContent: text });
    word.setAttribute('aria-describedby', tip(entry).id);
    return word;
  }

  function cut(node, found) {
    const text = node.data, behind = [];
    found.forEach(([start, end, entry], at) => {
      behind.push(term(text.slice(start, end), entry), document.createTextNode(text.slice(end, found[at + 1]?.[0])));
    });
    node.data = text.slice(0, found[0][0]);
    node.after(...behind);
    pieces.set(node, { left: node.data, behind });
  }

  // What gradio or a part has written anew stands there whole, and what was behind the old text goes.
  function rewritten(node) {
    const old = pieces.get(node);
    if (!old || old.left === node.data) return;
    old.behind.forEach(piece => piece.remove());
    pieces.delete(node);
  }

  function explain(place) {
    const name = place.matches(NAMES), around = place.closest(name ? '.block' : '[role="tabpanel"], .sidebar') || place;
    if (!name && !place.checkVisibility()) return;  // a word is explained where it is seen first
    const used = new Set([...around.querySelectorAll('dfn.term')].map(word => word.getAttribute('aria-describedby')));
    const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT,
      node => node.parentElement.closest(NOT_IN) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
    const nodes = [];
    while (walker.nextNode()) nodes.push(walker.currentNode);
    for (const node of nodes) {
      if (privlens.holdsValue(node.data)) continue;
      const found = hits(node.data, name, used);
      if (found.length) cut(node, found);
    }
  }

  const PLACES = `${NAMES}, ${SENTENCES}`;
  function look(root) {
    const inside = root.closest?.(PLACES);
    if (inside) explain(inside);
    else root.querySelectorAll?.(PLACES).forEach(explain);
  }
  let changed = new Set();
  new MutationObserver(changes => {
    for (const { type, target, addedNodes } of changes) {
      if (type === 'attributes') {  // another tab is open now
        if (!changed.size) requestAnimationFrame(settle);
        changed.add(document.body);
        continue;
      }
      const parent = type === 'characterData' ? target.parentElement : target;
      if (!parent || parent.closest('svg, .plot')) continue;
      if (type === 'characterData') rewritten(target);
      if (!changed.size) requestAnimationFrame(settle);
      if (type === 'characterData') changed.add(parent);
      else addedNodes.forEach(node => changed.add(node.nodeType === Node.ELEMENT_NODE ? node : parent));
    }
  }).observe(document, { subtree: true, childList: true, characterData: true, attributeFilter: ['aria-selected'] });
  function settle() {
    const roots = changed;
    changed = new Set();
    roots.forEach(root => { if (root.isConnected) look(root); });
    if (shown && !shown.word.isConnected) hide();
  }

  // One meaning at a time.
  let shown = null, timer = 0;
  function place() {
    const lines = [...shown.word.getClientRects()], { box } = shown, first = lines[0], last = lines.at(-1);
    if (!first || last.bottom < 0 || first.top > innerHeight) return hide();
    box.style.maxHeight = '';
    const below = innerHeight - last.bottom - GAP - EDGE, above = first.top - GAP - EDGE;
    const under = box.offsetHeight <= below || below >= above;
    box.style.maxHeight = `${Math.max(60, under ? below : above)}px`;
    box.style.left = `${Math.max(EDGE, Math.min(under ? last.left : first.left, document.documentElement.clientWidth - box.offsetWidth - EDGE))}px`;
    box.style.top = `${under ? last.bottom + GAP : first.top - GAP - box.offsetHeight}px`;
  }
  function show(word) {
    clearTimeout(timer);
    if (shown?.word === word) return;
    hide();
    shown = { word, box: document.getElementById(word.getAttribute('aria-describedby')) };
    shown.box.hidden = false;
    place();
  }
  function hide() {
    clearTimeout(timer);
    if (shown) shown.box.hidden = true;
    shown = null;
  }
  const wordAt = event => event.target.closest?.('dfn.term');
  const over = event => wordAt(event) || event.target.closest?.('.term-tip');
  document.addEventListener('pointerover', event => {
    if (event.pointerType === 'touch' || !over(event)) return;
    clearTimeout(timer);
    if (wordAt(event)) timer = setTimeout(show, LATER, wordAt(event));
  });
  document.addEventListener('pointerout', event => {  // the way from a word to its meaning takes a moment
    if (event.pointerType === 'touch' || !over(event)) return;
    clearTimeout(timer);
    timer = setTimeout(() => { if (shown?.word !== document.activeElement) hide(); }, 2 * LATER);
  });
  document.addEventListener('focusin', event => { if (wordAt(event)) show(wordAt(event)); else hide(); });
  document.addEventListener('focusout', event => { if (wordAt(event)) hide(); });
  window.addEventListener('click', event => {
    if (wordAt(event)) { event.preventDefault(); show(wordAt(event)); }  // in a label, a click would go on to its box
    else if (!over(event)) hide();
  }, true);
  window.addEventListener('keydown', event => {
    if (event.key !== 'Escape' || !shown) return;
    event.stopImmediatePropagation();
    hide();
  }, true);
  document.addEventListener('scroll', event => { if (shown && event.target !== shown.box) place(); }, { passive: true, capture: true });
  window.addEventListener('resize', hide);
})();
