// `value` is {kind, name, text, at}: a file is saved, a command is copied and shown. Set as text.
const said = element.querySelector('.export-said'), code = said.querySelector('code');
const [copied, byHand] = JSON.parse(said.dataset.words);
let done = props.value?.at;

async function take() {
  const value = props.value;
  if (!value) { said.hidden = true; return; }
  if (value.at === done) return;
  done = value.at;
  if (value.kind === 'file') return privlens.save(value.name, 'application/json', privlens.maskedJson(value.text));
  if (value.kind === 'text') return privlens.save(value.name, value.type, value.text);
  code.textContent = value.text;
  said.hidden = false;
  said.querySelector('span').textContent = await privlens.copy(value.text, code) ? copied : byHand;
}

watch('value', take);
