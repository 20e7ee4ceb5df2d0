/** Which screen is shown, and what of it: the part of the address after `#`, which the server never sees. */

/** The address of a screen; values that are empty are left out. */
export function address(screen, query = {}) {
  const given = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  return given.size > 0 ? `#${screen}?${given}` : `#${screen}`;
}

/** Goes there, also where that is here: then it is asked for again. */
export function go(screen, query) {
  const to = address(screen, query);
  if (location.hash === to) window.dispatchEvent(new Event('hashchange'));
  else location.hash = to;
}

/** The name of the screen that the address names, and what it says of it. */
export function here() {
  const [name, query] = location.hash.slice(1).split('?');
  return { name, query: new URLSearchParams(query) };
}
