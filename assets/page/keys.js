// Enter does to a box what a click and Space do. gradio itself ticks it on Enter too, but then reports the opposite.
window.addEventListener('keydown', event => {
  if (event.key !== 'Enter' || !event.target.matches?.('input[type="checkbox"]')) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  event.target.click();
}, true);
