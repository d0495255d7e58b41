// Tabs as WAI-ARIA has them: one is in the order of Tab, arrow keys choose. The
// tab that is open stands behind the # of the address, so that a reload and a
// link come back to it.

export function tabs(list, opened) {
  const all = [...list.querySelectorAll('[role="tab"]')];
  const name = (tab) => tab.id.replace('tab-', '');

  const open = (tab, focus) => {
    for (const t of all) {
      const on = t === tab;
      t.setAttribute('aria-selected', String(on));
      t.tabIndex = on ? 0 : -1;
      document.getElementById(t.getAttribute('aria-controls')).hidden = !on;
    }
    if (focus) {
      tab.focus();
    }
    history.replaceState(null, '', `#${name(tab)}`);
    opened(name(tab));
  };

  list.addEventListener('click', (e) => {
    const tab = e.target.closest('[role="tab"]');
    if (tab) {
      open(tab, false);
    }
  });
  list.addEventListener('keydown', (e) => {
    const at = all.indexOf(e.target);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[e.key];
    if (at >= 0 && next !== undefined) {
      e.preventDefault();
      open(all[(next + all.length) % all.length], true);
    }
  });
  open(all.find((t) => `#${name(t)}` === location.hash) ?? all[0], false);
  return (wanted) => open(all.find((t) => name(t) === wanted), false);
}
