// One recorded secret: its sentence, a map of its neurons, one large switch, and what is written in each state.
// `value` is what `privlens.ui.tabs.overview.view` makes, or {} where nothing is recorded; everything is set as text.
const at = name => element.querySelector(`[data-part="${name}"]`);
const box = element.querySelector('.overview'), empty = element.querySelector('.overview-empty');
const toggle = at('switch'), canvas = element.querySelector('canvas'), pointed = at('pointed');
const GAP = 8, SIDE = 26, BAR = 96;
let off = false, cells = [];

function css(name) { return getComputedStyle(element).getPropertyValue(name).trim(); }

// The pieces of a text, of which those that are the private value are set apart.
function write(node, pieces) {
  node.replaceChildren(...pieces.map(([text, kind]) => {
    const piece = document.createElement(kind && kind !== 'tail' ? 'mark' : 'span');
    piece.className = kind;
    piece.textContent = text;
    return piece;
  }));
}

function numbers() {
  const list = at('numbers'), now = off ? 'after' : 'before';
  list.replaceChildren(...props.value.numbers.map(number => {
    const card = document.createElement('div');
    const part = (tag, text) => Object.assign(card.appendChild(document.createElement(tag)), { textContent: text });
    card.className = 'overview-number';
    part('dt', number.name);
    const value = part('dd', '');
    if (off && number.before !== number.after && (number.before + number.after).length < 11) {  // a longer pair has no room
      const was = Object.assign(document.createElement('span'), { className: 'was', textContent: number.before + ' ' });
      const arrow = Object.assign(document.createElement('span'), { className: 'was', textContent: '\u2192 ' });
      value.append(was, arrow);
    }
    value.append(number[now]);
    part('dd', off ? number.random : number.note).className = 'overview-note';
    return card;
  }));
}

// Each layer is a band of rows of 128 neurons; at its right a bar for how many of them are off.
function draw() {
  const value = props.value || {};
  if (!value.map || !canvas.clientWidth) return;
  const map = value.map, columns = 128, rows = Math.ceil(map.width / columns), scale = window.devicePixelRatio || 1;
  const width = canvas.parentElement.clientWidth, height = Math.max(250, Math.min(380, 0.62 * width));
  const side = (width - SIDE - BAR) / columns, tall = (height - GAP * (map.layers - 1)) / (map.layers * rows);
  canvas.style.height = `${height}px`;
  canvas.width = width * scale; canvas.height = height * scale;
  const pen = canvas.getContext('2d');
  pen.scale(scale, scale);
  pen.font = `12px ${css('--font') || 'sans-serif'}`;
  pen.textBaseline = 'middle';
  const ink = css('--body-text-color'), soft = css('--body-text-color-subdued'), secret = css('--secret');
  const band = layer => layer * (rows * tall + GAP);
  const place = index => [SIDE + (index % columns) * side, Math.floor(index / columns) * tall];
  for (let layer = 0; layer < map.layers; layer++) {
    pen.globalAlpha = 0.07; pen.fillStyle = ink;
    pen.fillRect(SIDE, band(layer), columns * side, rows * tall);
    pen.globalAlpha = 1; pen.fillStyle = soft;
    pen.fillText(String(layer), 6, band(layer) + rows * tall / 2);
  }
  cells = [];
  const closed = new Set(map.off.map(String));
  for (const [layer, index, score] of map.heat) {
    const [x, y] = place(index), chosen = closed.has(`${layer},${index}`);
    pen.fillStyle = off && chosen ? ink : secret;
    pen.globalAlpha = chosen ? 1 : 0.12 + 0.5 * score / 100;
    const more = chosen ? 0.6 : 0;  // a cell of some 4 x 3 pixels is seen when it is a little larger
    pen.fillRect(x - more, band(layer) + y - more, Math.max(side - 0.5, 1.5) + 2 * more, Math.max(tall - 0.5, 1.5) + 2 * more);
    cells.push({ x, y: band(layer) + y, side, tall, layer, index, score, chosen });
  }
  pen.globalAlpha = 1;
  const most = Math.max(...map.perLayer, 1), start = SIDE + columns * side + 10;
  map.perLayer.forEach((n, layer) => {
    const long = (BAR - 44) * n / most, middle = band(layer) + rows * tall / 2;
    pen.fillStyle = off ? ink : secret;
    pen.fillRect(start, middle - 6, Math.max(long, n ? 2 : 0), 12);
    pen.fillStyle = soft;
    pen.fillText(String(n), start + long + 6, middle);
  });
}

function show() {
  const value = props.value || {};
  box.hidden = !value.map; empty.hidden = Boolean(value.map);
  if (!value.map) return;
  write(at('sentence'), value.sentence);
  at('sure').textContent = value.sure;
  at('recorded').textContent = value.recorded;
  at('chosen').textContent = value.chosen;
  toggle.setAttribute('aria-checked', String(!off));
  toggle.querySelector('.overview-switch-text').textContent = off ? value.labels.off : value.labels.on;
  box.dataset.off = String(off);
  const verdict = off ? value.verdicts.off : value.verdicts.on;
  at('verdict').dataset.kind = verdict.kind;
  at('verdict').querySelector('strong').textContent = verdict.text;
  at('verdict').querySelector('span').textContent = verdict.detail || '';
  for (const state of ['on', 'off', 'random']) {
    write(at(state), off || state === 'on' ? value.texts[state] : [[value.labels.hidden, '']]);
    at(state).closest('.overview-text').classList.toggle('waiting', !off && state !== 'on');
  }
  canvas.setAttribute('aria-label', value.map.label);
  numbers();
  draw();
}

toggle.addEventListener('click', () => { off = !off; show(); });
canvas.addEventListener('pointermove', event => {
  const place = canvas.getBoundingClientRect(), x = event.clientX - place.left, y = event.clientY - place.top;
  const cell = cells.find(c => x >= c.x - 1 && x < c.x + c.side + 1 && y >= c.y - 1 && y < c.y + c.tall + 1);
  pointed.textContent = cell ? props.value.map.cell.replace('LAYER', cell.layer).replace('NEURON', cell.index)
    .replace('SCORE', (cell.score / 100).toFixed(2)) : props.value.map.caption;
});
// A narrow screen has no room for both, and what is shown first is the picture; the sidebar's own button opens it.
function aside(tries) {
  const open = document.querySelector('#sidebar.open .toggle-button');
  if (open) open.click();
  else if (tries) setTimeout(() => aside(tries - 1), 50);
}
if (props.value?.map && window.innerWidth < 1100) aside(40);
watch('value', () => { off = false; show(); });
show();
new ResizeObserver(draw).observe(canvas.parentElement);
new MutationObserver(draw).observe(document.body, { attributeFilter: ['class'] });
