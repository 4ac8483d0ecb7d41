// What is known of the neuron that is pointed at. `value` is {title, lines: [[name, text]], busy}; everything is set as text. It stands
// below the map, and beside the pointer while that rests on a cell.
const card = element.querySelector('.card'), floating = element.querySelector('.card-floating');
const GAP = 22;  // pixels between the pointer and the card, so that no cell is under it that one points at

function fill(box, value) {
  box.querySelector('.card-title').textContent = value.title || '';
  box.querySelector('.card-lines').replaceChildren(...(value.lines || []).flatMap(([name, text]) => [
    Object.assign(document.createElement('dt'), { textContent: name }), Object.assign(document.createElement('dd'), { textContent: text }),
  ]));
}

function follow(value) {
  const place = window.privlens?.pointer;
  floating.hidden = !value.title || !place;
  if (floating.hidden) return;
  fill(floating, value);
  const [x, y] = place, { offsetWidth: width, offsetHeight: height } = floating;
  floating.style.left = `${x + GAP + width < innerWidth ? x + GAP : Math.max(0, x - GAP - width)}px`;
  floating.style.top = `${y + GAP + height < innerHeight ? y + GAP : Math.max(0, y - GAP - height)}px`;
}

function draw() {
  const value = props.value || {};
  card.hidden = !value.title;
  card.setAttribute('aria-busy', String(Boolean(value.busy)));
  fill(card, value);
  follow(value);
}

draw(); watch('value', draw);
document.addEventListener('privlens-left', () => { floating.hidden = true; });
document.addEventListener('scroll', () => { floating.hidden = true; }, { passive: true });
