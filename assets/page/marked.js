// One text with pieces marked: `value` is a list of [text, mark or null], `heading` says what it is; everything is set as text.
const label = element.querySelector('.marked-label');
const box = element.querySelector('.marked');

function draw() {
  label.textContent = props.heading;
  box.replaceChildren(...(props.value || []).map(([text, mark]) => {
    const piece = document.createElement(mark ? 'mark' : 'span');
    piece.textContent = text;
    return piece;
  }));
}

draw(); watch("value", draw); watch("heading", draw);
