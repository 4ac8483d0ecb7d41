// The tokens of a value in a line, the darker the likelier: `value` is a list of [text, probability, rank]; everything is set as text.
// A token that is not the model's first choice has a dashed border, so that colour is not all that says so.
const line = element.querySelector('.tokens');

function draw() {
  const tokens = props.value || [], pieces = privlens.shownPieces(tokens.map(([text]) => [text, null]));
  element.querySelector('.tokens-part').hidden = !tokens.length;
  line.replaceChildren(...tokens.map(([, probability, rank], place) => {
    const chip = document.createElement('span');
    chip.className = 'token';
    chip.textContent = pieces[place][0];
    chip.title = line.dataset.title.replace('PROBABILITY', probability.toPrecision(3)).replace('RANK', rank);
    chip.style.setProperty('--sure', `${Math.round(60 * probability)}%`);
    chip.classList.toggle('not-first', rank > 1);
    return chip;
  }));
}

draw(); watch('value', draw);
document.addEventListener('privlens-mask', draw);
