// Keeps the page's fragment: `value` is {model, row, method, seed, k}, none of them a text or a private value; the tab is the one
// that is open. The page reads the fragment when it is opened, so another one opens it anew.
let touched = false;

function write() {
  const said = props.value || {};
  const open = document.querySelector('#tabs [role="tab"][aria-selected="true"]');
  const tab = open?.getAttribute('data-tab-id') || open?.id.replace(/-button$/, '');
  if (!Object.keys(said).length && !touched) return;  // what a link says is not written over before it was read
  const fragment = new URLSearchParams({ ...said, ...(tab ? { tab } : {}) }).toString();
  if (`#${fragment}` !== location.hash) history.replaceState(history.state, '', `${location.pathname}${location.search}#${fragment}`);
}

watch('value', write);
document.addEventListener('click', event => {
  if (event.target.closest?.('#tabs [role="tab"]')) { touched = true; setTimeout(write, 100); }  // once the tab is open
});
window.addEventListener('hashchange', () => location.reload());
