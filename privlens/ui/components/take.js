// Every file that leaves the page is made here, in the browser, from what it already has; nothing is fetched from elsewhere.
window.privlens = window.privlens || {};
(() => {
  // What a masked page hides (`mask.js`) it hides in files too: tables here, results in `exports.js`, figures as they are drawn.
  privlens.save = (name, type, content) => {
    const link = document.createElement('a');
    link.href = content instanceof Blob ? URL.createObjectURL(content) : URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);  // long enough for the browser to have begun
  };

  // Without https a page may not use the clipboard, except on this machine; then the text is selected, for Ctrl+C.
  privlens.copy = async (text, shown) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      getSelection().selectAllChildren(shown);
      return false;
    }
  };

  // A spreadsheet takes a cell that begins with one of = + - @ for a formula, and runs it; an apostrophe makes it text. Numbers
  // stay as they are.
  const formula = /^[\s\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20|%]|^[\t\r\n]/u, number = /^[+-]?(\d[\d,]*)?\.?\d+(e[+-]?\d+)?( ?%)?$|^-$/i;
  privlens.cell = value => {
    let text = value === null || value === undefined ? '' : String(value);
    if (formula.test(text) && !number.test(text)) text = `'${text}`;
    return /[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  privlens.csv = rows => rows.map(row => row.map(privlens.cell).join(',') + '\r\n').join('');
  privlens.saveCsv = (name, rows) => privlens.save(`${name}.csv`, 'text/csv', '\ufeff' + privlens.csv(rows));  // Excel reads UTF-8 by this mark
  privlens.saveTable = (name, table) => {
    const hidden = privlens.hiddenColumn(name);
    const rows = table.data.map(row => row.map((cell, column) =>
      typeof cell === 'string' ? privlens.masked(cell, column === hidden) : cell));
    privlens.saveCsv(`privlens-${name}`, [table.headers, ...rows]);
  };

  const page = () => getComputedStyle(document.body).getPropertyValue('--body-background-fill').trim() || '#fff';
  const safe = text => text.replaceAll('<', '\\u003c');
  async function alone(figure) {
    const source = await (await fetch(document.querySelector('script[src*="plotly"]').src)).text();
    figure.layout.autosize = true;
    delete figure.layout.width;
    const script = text => `<${'script'}>${text.replaceAll(`</${'script'}`, `<\\/${'script'}`)}</${'script'}>`;  // this one stands in a page too
    const drawn = `Plotly.newPlot('figure', ${safe(JSON.stringify(figure.data))}, ${safe(JSON.stringify(figure.layout))}, {responsive: true, displaylogo: false})`;
    return `<!doctype html><html lang="en"><meta charset="utf-8"><title>PrivLens</title><body style="background:${page()}"><div id="figure"></div>${script(source)}${script(drawn)}</body></html>`;
  }

  privlens.saveFigure = async (plot, name, format) => {
    const figure = JSON.parse(Plotly.Plots.graphJson(plot, false, 'keepdata'));
    figure.layout.paper_bgcolor = page();  // or a dark page's white text stands on nothing
    if (format === 'html') return privlens.save(`${name}.html`, 'text/html', await alone(figure));
    const size = { width: plot.clientWidth, height: plot.clientHeight };
    const url = await Plotly.toImage({ data: figure.data, layout: { ...figure.layout, ...size } }, { format, ...size, scale: format === 'png' ? 2 : 1 });
    privlens.save(`${name}.${format}`, '', await (await fetch(url)).blob());
  };

  document.addEventListener('click', event => {
    const button = event.target.closest?.('[data-figure]');
    document.querySelectorAll('details.take[open]').forEach(menu => { if (button || !menu.contains(event.target)) menu.open = false; });
    if (!button) return;
    const menu = button.closest('details'), part = menu.closest('[id]:not([id^="html-"])');  // gradio numbers what has no name
    menu.querySelector('summary').focus();
    privlens.saveFigure(menu.parentElement.querySelector('.plot'), `privlens-${part.id}`, button.dataset.figure);
  });
  document.addEventListener('keydown', event => {
    const menu = event.key === 'Escape' && document.activeElement?.closest?.('details.take[open]');
    if (menu) { menu.open = false; menu.querySelector('summary').focus(); }
  });
})();
