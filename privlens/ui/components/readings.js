// Texts whose tokens are coloured by a neuron's activation. `value` is a list of {note, tokens: [[text, activation], ...], from}, where
// `from` is the token that the private value begins with, or nothing. Everything is set as text; colours are relative to the strongest.
const list = element.querySelector('.readings');

function line(reading, most) {
  const box = document.createElement('div'), note = document.createElement('div'), tokens = document.createElement('div');
  note.className = 'readings-note';
  note.textContent = reading.note;
  tokens.className = 'readings-tokens';
  const pieces = privlens.shownPieces(reading.tokens.map(([text]) => [text, null]));
  reading.tokens.forEach(([, activation], place) => {
    const chip = document.createElement('span');
    chip.textContent = pieces[place][0];
    chip.title = activation.toPrecision(3);
    chip.style.setProperty('--share', `${Math.round(70 * Math.min(1, Math.abs(activation) / most))}%`);
    chip.classList.toggle('below', activation < 0);
    chip.classList.toggle('value-begins', place === reading.from);
    tokens.append(chip);
  });
  box.append(note, tokens);
  return box;
}

function draw() {
  const readings = props.value || [];
  const most = Math.max(1e-6, ...readings.flatMap(reading => reading.tokens.map(([, activation]) => Math.abs(activation))));
  element.querySelector('.marked-label').hidden = !readings.length;
  list.replaceChildren(...readings.map(reading => line(reading, most)));
}

draw(); watch('value', draw);
document.addEventListener('privlens-mask', draw);
