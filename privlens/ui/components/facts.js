// Lists numbers with their unit and meaning. `value` is a list of {name, value, beside, unit, note, place}; everything is set as text.
// The numbers that matter stand first; those with the place `more` are folded away, and where they come from is the last line.
const places = { '': '.facts', more: '.facts-more dl', origin: '.facts-origin' };
const note = element.querySelector('.facts-empty');
const more = element.querySelector('.facts-more');

function part(tag, name, text) {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = text;
  return node;
}

function box(fact) {
  const box = part('div', 'fact', '');
  const number = part('dd', 'fact-number', '');
  number.append(part('span', 'fact-value', fact.value), ' ', part('span', 'fact-unit', fact.unit || ''));
  box.append(part('dt', 'fact-name', fact.name), number);
  if (fact.beside) box.append(part('dd', 'fact-beside', fact.beside));
  box.append(part('dd', 'fact-note', fact.note || ''));
  return box;
}

// A number of the same name keeps its name's place on the page, for the focus may be on a word of it (terms.js).
function fill(list, facts) {
  const names = [...list.querySelectorAll('.fact-name')];
  const same = names.length === facts.length && names.every((name, at) => name.textContent === facts[at].name);
  if (!same) return list.replaceChildren(...facts.map(box));
  names.forEach((name, at) => {
    const [, ...rest] = box(facts[at]).children;
    while (name.nextSibling) name.nextSibling.remove();
    name.after(...rest);
  });
}

function draw() {
  const facts = props.value || [];
  note.hidden = facts.length > 0;
  more.hidden = !facts.some(fact => fact.place === 'more');
  for (const [place, list] of Object.entries(places)) fill(element.querySelector(list), facts.filter(fact => (fact.place || '') === place));
}

draw(); watch('value', draw);
