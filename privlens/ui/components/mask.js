// Hides private values everywhere on the page by one switch, and in every file that leaves it: 54••-••57.
//
// The browser has to know the values that it hides: `privlens.values` is given them. What is on the page stays as it is and is only
// shown otherwise, so nothing that is worked out depends on this. A hidden text is as long as the text itself.
window.privlens = window.privlens || {};
(() => {
  const FIRST = 3;  // characters that values are looked up by: fewer find more candidates at every place, more miss short values
  const letters = /[\p{L}\p{N}]/u;
  let on = false, revealed = false, known = new Map(), typed = '';

  // At most the first and last two letters or digits stay, and never more than half of them.
  function hide(text) {
    const places = [...text].flatMap((sign, place) => letters.test(sign) ? [place] : []);
    const keep = Math.min(2, Math.floor(places.length / 4)), open = new Set([...places.slice(0, keep), ...places.slice(places.length - keep)]);
    const hidden = new Set(places.filter(place => !open.has(place)));
    return [...text].map((sign, place) => hidden.has(place) ? '\u2022'.repeat(sign.length) : sign).join('');
  }

  function add(map, value) {
    const text = value.trim().toLowerCase();
    if (text.length < FIRST) return;
    const start = text.slice(0, FIRST);
    if (map.has(start)) map.get(start).push(text);
    else map.set(start, [text]);
  }

  function refresh() {
    const now = document.querySelector('#value textarea, #value input')?.value || '';
    if (now === typed) return;
    typed = now;
  }

  // Where a known value stands in a text, as [start, end]; not inside a longer word or number.
  function places(text) {
    const found = [], low = text.toLowerCase(), own = new Map();
    if (low.length !== text.length) return [[0, text.length]];  // a language whose small letters are longer: all of it
    add(own, typed);
    for (let start = 0; start <= low.length - FIRST; start++) {
      const key = low.slice(start, start + FIRST), candidates = [...(known.get(key) || []), ...(own.get(key) || [])];
      if (!candidates.length || (start && letters.test(low[start - 1]) && letters.test(low[start]))) continue;
      const hits = candidates.filter(value => low.startsWith(value, start) && !(letters.test(low[start + value.length] || ' ') && letters.test(value.at(-1))));
      const longest = Math.max(0, ...hits.map(value => value.length));
      if (!longest) continue;
      found.push([start, start + longest]);
      start += longest - 1;
    }
    return found;
  }

  function hiddenIn(text, ranges) {
    let out = '', last = 0;
    for (const [start, end] of ranges) { out += text.slice(last, start) + hide(text.slice(start, end)); last = end; }
    return out + text.slice(last);
  }

  // Whether a text holds a private value, hidden or not.
  privlens.holdsValue = text => { refresh(); return text.includes('\u2022') || places(text).length > 0; };

  // The text as it may leave the page; `whole` for a text that is a piece of a value itself.
  privlens.masked = (text, whole = false) => {
    if (!on) return text;
    refresh();
    return whole ? text.replace(/[\p{L}\p{N}]/gu, sign => '\u2022'.repeat(sign.length)) : hiddenIn(text, places(text));
  };
  // A continuation of the prompt: what stands where the value would is hidden too, for it may be nearly the value.
  privlens.maskedContinuation = text => {
    if (!on) return text;
    refresh();
    const start = text.length - text.trimStart().length;
    return hiddenIn(privlens.masked(text), typed.trim() ? [[start, Math.min(text.length, start + typed.trim().length)]] : []);
  };
  privlens.shownPieces = pieces => {
    if (!on || revealed) return pieces;
    const text = privlens.maskedContinuation(pieces.map(([piece]) => piece).join(''));
    let at = 0;
    return pieces.map(([piece, mark]) => [text.slice(at, at += piece.length), mark]);
  };
  privlens.maskedJson = text => !on ? text : JSON.stringify(JSON.parse(text, (key, value) => {
    if (key === 'tokens' || key === 'top_tokens') return JSON.parse(JSON.stringify(value), (_, token) => typeof token === 'string' ? privlens.masked(token, true) : token);
    if (typeof value !== 'string') return value;
    if (key === 'token') return privlens.masked(value, true);
    return key === 'text' || key === 'continuation' ? privlens.maskedContinuation(value) : privlens.masked(value);
  }), null, 1) + '\n';

  // Parts whose labels are pieces of the value.
  const PIECES = new Set(['own-tokens', 'control-tokens', 'check-bars', 'effect-bars', 'layers-lens']);
  privlens.hiddenColumn = name => PIECES.has(name) ? 0 : -1;
  privlens.figure = (text, part) => JSON.parse(text, !on || revealed ? undefined : (key, value) =>
    typeof value !== 'string' ? value : privlens.masked(value, /^\d+$/.test(key) && PIECES.has(part.closest('[id]:not([id^="html-"])')?.id)));

  // Texts on the page: each text node remembers what it really says.
  const said = new WeakMap();
  function show(node) {
    const before = said.get(node), real = before && node.data === before.shown ? before.real : node.data;
    const shown = on && !revealed ? privlens.masked(real) : real;
    if (shown !== real || before) said.set(node, { real, shown });
    if (node.data !== shown) node.data = shown;
  }
  function walk(root) {
    if (root.nodeType === Node.TEXT_NODE) return show(root);
    if (root.nodeType !== Node.ELEMENT_NODE || root.matches('script, style, textarea')) return;
    const nodes = document.createTreeWalker(root, NodeFilter.SHOW_TEXT,
      node => node.parentElement?.matches('script, style, textarea') ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
    while (nodes.nextNode()) show(nodes.currentNode);
  }
  const observer = new MutationObserver(changes => {
    for (const change of changes) {
      if (change.type === 'characterData') show(change.target);
      else change.addedNodes.forEach(walk);
    }
  });

  function apply() {
    document.documentElement.classList.toggle('masked', on && !revealed);
    observer.disconnect();
    walk(document.body);
    if (on) observer.observe(document.body, { subtree: true, childList: true, characterData: true });
    document.dispatchEvent(new Event('privlens-mask'));
  }
  privlens.mask = { get on() { return on; }, set(wanted) { on = wanted; revealed = false; apply(); } };
  privlens.reveal = wanted => { if (revealed !== wanted) { revealed = wanted; apply(); } };
  privlens.values = values => { known = new Map(); values.forEach(value => add(known, value)); if (on) apply(); };
  document.addEventListener('input', event => { if (on && event.target.closest?.('#value')) apply(); });

  // A presenter's page: the query says so, so that a link opens it.
  if (new URLSearchParams(location.search).has('present')) document.documentElement.classList.add('present');
})();
