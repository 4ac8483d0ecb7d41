// One text with pieces marked: `value` is a list of [text, mark or null]; everything is set as text.
const box = element.querySelector('.marked');

function draw() {
  box.replaceChildren(...privlens.shownPieces(props.value || []).map(([text, mark]) => {
    const piece = document.createElement(mark ? 'mark' : 'span');
    piece.textContent = text;
    return piece;
  }));
}

draw(); watch("value", draw);
document.addEventListener('privlens-mask', draw);
