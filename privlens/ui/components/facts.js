// Lists numbers with their unit and meaning. `value` is a list of {name, value, beside, unit, note}; everything is set as text.
const list = element.querySelector('dl');
const note = element.querySelector('.facts-empty');

function part(tag, name, text) {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = text;
  return node;
}

function draw() {
  const facts = props.value || [];
  note.hidden = facts.length > 0;
  list.replaceChildren(...facts.map(fact => {
    const box = part('div', 'fact', '');
    const number = part('dd', 'fact-number', '');
    number.append(part('span', 'fact-value', fact.value), ' ', part('span', 'fact-unit', fact.unit || ''));
    box.append(part('dt', 'fact-name', fact.name), number);
    if (fact.beside) box.append(part('dd', 'fact-beside', fact.beside));
    box.append(part('dd', 'fact-note', fact.note || ''));
    return box;
  }));
}

draw(); watch('value', draw);
