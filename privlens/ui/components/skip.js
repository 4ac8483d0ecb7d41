// Focuses the name of the open tab and leaves the address as it is: what stands behind its # is not ours.
element.querySelector('a').addEventListener('click', event => {
  event.preventDefault();
  const tab = document.querySelector('#tabs [role="tab"][aria-selected="true"]');
  tab.focus();
  tab.scrollIntoView({ block: 'center' });
});
