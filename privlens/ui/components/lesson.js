// A lesson over the real page. `value` is {lessons, example, words}, as `privlens.ui.lesson` makes it; everything is set as text.
// Remembered in the browser: which lesson, which step, which answers were picked. Never a number, a text or a value of the page.
const KEY = 'privlens-lesson', STILL = 700;
const at = name => element.querySelector(`[data-part="${name}"]`);
const panel = element.querySelector('.lesson'), words = props.value.words;
let state = { lesson: null, step: 0, picks: {} }, readings = {}, watched = null, timer = null;

function remember() { try { localStorage.setItem(KEY, JSON.stringify(state)); } catch { /* it is not allowed to, and forgets */ } }
function recall() { try { return JSON.parse(localStorage.getItem(KEY)); } catch { return null; } }
const lesson = () => props.value.lessons.find(one => one.name === state.lesson);
const part = id => document.getElementById(id);

function make(tag, text, where, name) {
  const node = where.appendChild(document.createElement(tag));
  if (text) node.textContent = text;
  if (name) node.className = name;
  return node;
}

// The number of a part, by its name, or the sentence of a verdict; empty where it is not on the page.
function read({ part: id, name, beside }) {
  const box = part(id);
  if (!box) return '';
  if (!name) return box.querySelector('.verdict strong')?.textContent || '';
  const term = [...box.querySelectorAll('dt')].find(one => one.textContent.trim() === name);
  const shown = term?.parentElement.querySelector(beside ? '.fact-beside, .overview-note' : 'dd');
  return shown?.textContent.replace(/\s+/g, ' ').trim() || '';
}
const readAll = step => step.reads.map(reading => [reading.label, read(reading)]);

function filled(box) {
  const runs = box.closest('[role="tabpanel"]')?.querySelector('.run:not([hidden])');
  const said = box.querySelector('.verdict');
  const there = said ? said.dataset.kind !== 'none' && said.querySelector('em').hidden : box.querySelector('dl > *, .main-svg');
  return Boolean(there) && !runs;
}

// Results count once they changed since the question was answered and have been still for a moment.
function waitFor(act) {
  const began = { box: act.results && part(act.results), changed: 0 };
  const note = new MutationObserver(() => { began.changed = Date.now(); });
  if (began.box) note.observe(began.box, { subtree: true, childList: true, characterData: true, attributes: true });
  return {
    done() {
      if (act.opened) return document.querySelector('#tabs [role="tab"][aria-selected="true"]')?.dataset.tabId === act.opened;
      if (act.switched_off) return part(act.switched_off)?.getAttribute('aria-checked') === 'false';
      const box = part(act.results);
      if (box && box !== began.box) {  // its tab was opened meanwhile
        began.box = box; began.changed = filled(box) ? Date.now() : 0;
        note.observe(box, { subtree: true, childList: true, characterData: true, attributes: true });
      }
      return Boolean(box) && began.changed > 0 && Date.now() - began.changed > STILL && filled(box);
    },
    end() { note.disconnect(); },
  };
}

function unwatch() {
  watched?.end(); watched = null;
  clearInterval(timer);
  document.querySelectorAll('.lesson-pointed').forEach(one => one.classList.remove('lesson-pointed'));
}

function enter(selector, text) {
  const box = document.querySelector(selector);
  if (!box) return;
  Object.getOwnPropertyDescriptor(Object.getPrototypeOf(box), 'value').set.call(box, text);
  box.dispatchEvent(new Event('input', { bubbles: true }));
}

// Opens the step's tab, fills in the example, and points at the part, once it is there.
function lead(step) {
  if (step.example && props.value.example) {
    enter('#prompt textarea, #prompt input', props.value.example.prompt);
    enter('#value textarea, #value input', props.value.example.value);
  }
  panel.dataset.side = window.innerWidth > 1100 && step.point && !document.querySelector(`#sidebar #${step.point}`) ? 'left' : 'right';
  if (step.tab) document.querySelector(`#tabs [role="tab"][data-tab-id="${step.tab}"]`)?.click();
  const point = tries => {
    const target = step.point && part(step.point);
    if (target?.offsetParent) {
      target.classList.add('lesson-pointed');
      target.scrollIntoView({ block: 'center' });
    } else if (step.point && tries && lesson()?.steps[state.step] === step) setTimeout(() => point(tries - 1), 100);
  };
  point(30);
}

function picked(step, number) {
  state.picks[state.step] = number;
  remember();
  draw(false);
  lead(step);
}

function draw(move = true) {
  unwatch();
  const body = at('body'), told = lesson();
  body.replaceChildren();
  at('back').hidden = at('skip').hidden = at('next').hidden = !told;
  at('restart').hidden = !told;
  at('where').textContent = told ? told.title : words.open;
  if (!told) return choose(body);
  const last = state.step >= told.steps.length;
  at('back').hidden = state.step === 0;
  at('skip').hidden = at('next').hidden = last;
  const title = make('h2', last ? words.worksheet : `${state.step + 1}/${told.steps.length} ${told.steps[state.step].title}`, body);
  title.tabIndex = -1;
  if (last) worksheet(body); else tell(body, told.steps[state.step]);
  if (move) { title.focus(); body.scrollTop = 0; }
}

function choose(body) {
  for (const one of props.value.lessons) {
    make('h2', one.title, body);
    make('p', `${one.about} (${words.minutes.replace('N', one.minutes)})`, body);
    const begin = make('button', words.begin, body, 'lesson-main');
    begin.type = 'button';
    begin.addEventListener('click', () => { state = { lesson: one.name, step: 0, picks: {} }; readings = {}; remember(); draw(); });
  }
  body.querySelector('button')?.focus();
}

function tell(body, step) {
  const mine = state.picks[state.step], answered = mine !== undefined, all = make('fieldset', '', body, 'lesson-ask');
  make('legend', step.ask, all);
  step.choices.forEach((choice, number) => {
    const label = make('label', '', all), box = make('input', '', label);
    Object.assign(box, { type: 'radio', name: 'lesson-choice', checked: number === mine });
    make('span', choice, label);
    box.addEventListener('click', () => picked(step, number));
  });
  if (answered) all.querySelectorAll('input')[mine].dataset.mine = 'true';
  at('next').disabled = true;
  if (!answered) { make('p', words.first, body, 'lesson-quiet'); return; }
  make('p', step.do, body, 'lesson-do');
  const said = make('div', '', body, 'lesson-said');
  said.setAttribute('role', 'status');
  const show = () => {  // what changes later is read again: one may go on trying
    const now = readAll(step);
    if (String(now) === String(readings[state.step]) && said.querySelector('.lesson-then')) return;
    readings[state.step] = now;
    said.replaceChildren();
    if (step.reads.length) numbers(said, now);
    make('p', step.then, said, 'lesson-then');
    at('next').disabled = false;
  };
  if (!step.until) { show(); return; }
  make('p', words.waiting, said, 'lesson-quiet lesson-waiting');
  watched = waitFor(step.until);
  timer = setInterval(() => { if (watched?.done()) show(); }, 200);
  body.querySelectorAll('input')[mine].focus({ preventScroll: true });
}

function numbers(where, rows) {
  const list = make('dl', '', where, 'lesson-numbers');
  for (const [label, value] of rows) {
    const row = make('div', '', list);
    make('dt', label, row);
    make('dd', value || '-', row);
  }
}

function rows() {
  return lesson().steps.map((step, number) => ({
    number: number + 1, ask: step.ask, mine: step.choices[state.picks[number]] ?? '', seen: readings[number] || step.reads.map(one => [one.label, '']),
  }));
}

function worksheet(body) {
  const sheet = make('div', '', body, 'lesson-sheet'), table = make('table', '', sheet);
  const head = make('tr', '', make('thead', '', table)), filling = make('tbody', '', table);
  for (const name of words.columns) make('th', name, head).scope = 'col';
  for (const row of rows()) {
    const line = make('tr', '', filling);
    make('td', String(row.number), line);
    make('td', row.ask, line);
    make('td', row.mine || '-', line);
    const seen = make('td', '', line);
    for (const [label, value] of row.seen) make('div', `${label}: ${value || '-'}`, seen);
  }
  if (rows().some(row => row.seen.some(([, value]) => !value))) make('p', words.missing, body, 'lesson-quiet');
  const buttons = make('div', '', body, 'lesson-takes');
  for (const [name, act] of [['print', print], ['csv', save]]) {
    const button = make('button', words[name], buttons, 'lesson-main');
    Object.assign(button, { type: 'button' }).dataset.part = name;
    button.addEventListener('click', act);
  }
}

// The worksheet alone is printed: a copy of it beside the page, which is hidden meanwhile.
function print() {
  const paper = make('div', '', document.body, 'lesson-paper');
  make('h1', lesson().title, paper);
  make('p', words.name, paper);
  paper.append(element.querySelector('.lesson-sheet').cloneNode(true));
  window.addEventListener('afterprint', () => paper.remove(), { once: true });
  window.print();
}

function save() {
  const lines = [words.csvColumns, ...rows().flatMap(row => (row.seen.length ? row.seen : [['', '']])
    .map(([label, value]) => [row.number, row.ask, row.mine, label, value]))];
  privlens.saveCsv(lesson().name, lines);
}

function open(shown) {
  panel.hidden = !shown;
  if (panel.matches(':popover-open') !== shown) panel.togglePopover(shown);  // above the sidebar, whatever lies on top
  at('open').setAttribute('aria-expanded', String(shown));
  if (shown) draw(); else { unwatch(); at('open').focus(); }
}

function go(step) {
  state.step = step; remember(); draw();
}

at('open').addEventListener('click', () => {
  if (!panel.hidden) { open(false); return; }
  state = { ...state, ...recall() };
  if (!lesson()) state.lesson = null;
  open(true);
});
at('close').addEventListener('click', () => open(false));
at('restart').addEventListener('click', () => { state = { lesson: null, step: 0, picks: {} }; readings = {}; remember(); draw(); });
at('back').addEventListener('click', () => go(state.step - 1));
at('skip').addEventListener('click', () => go(state.step + 1));
at('next').addEventListener('click', () => go(state.step + 1));
panel.addEventListener('keydown', event => { if (event.key === 'Escape') open(false); });
