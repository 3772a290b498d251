// Checkpoint and Drain: what they do, the token they need, and the answer.

import { request } from './api.js';
import { $, text } from './dom.js';
import { number } from './format.js';

const KEY = 'tidegate-token';
const ACTIONS = {
  checkpoint: { title: 'Checkpoint', told: 'Writes the state of all views, so that a restart begins from here.', button: 'Take a checkpoint' },
  drain: { title: 'Drain', told: 'Reads nothing more, commits what was read to the sinks, and then stops the process.', button: 'Drain and stop' },
};

// Where storage is not allowed the token lives as long as the page.
let held = null;
const token = () => { try { return sessionStorage.getItem(KEY); } catch { return held; } };
function hold(value) {
  held = value;
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch { /* kept in the page */ }
}

export function controls() {
  const dialog = $('dialog');
  let action = null;
  const say = (answer, failed = false) => {
    text($('dialog-answer'), answer);
    $('dialog-answer').className = failed ? 'fault' : '';
    $('dialog-answer').hidden = !answer;
  };

  function open(name) {
    action = name;
    text($('dialog-h'), ACTIONS[name].title);
    text($('dialog-text'), ACTIONS[name].told);
    text($('dialog-do'), ACTIONS[name].button);
    text($('dialog-close'), 'Cancel');
    $('dialog-do').hidden = false;
    $('dialog-label').hidden = Boolean(token());
    $('token').required = !token();
    say('');
    dialog.showModal();
    (token() ? $('dialog-close') : $('token')).focus();
  }

  async function send() {
    const given = token() ?? $('token').value.trim();
    $('dialog-do').disabled = true;
    say('Asking …');
    try {
      const { epoch } = await request(`/api/${action}`, { method: 'POST', headers: { Authorization: `Bearer ${given}` } });
      hold(given);
      $('token').value = '';
      say(`Accepted at epoch ${number(epoch)}.`);
      $('dialog-label').hidden = $('dialog-do').hidden = true;
      text($('dialog-close'), 'Close');
      $('dialog-close').focus();
    } catch (error) {
      say(error.message, true);
      if (error.status === 401) {
        hold(null);
        $('dialog-label').hidden = false;
        $('token').required = true;
        $('token').select();
        $('token').focus();
      }
    }
    $('dialog-do').disabled = false;
  }

  for (const name of Object.keys(ACTIONS)) $(name).addEventListener('click', () => open(name));
  $('dialog-close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => { $('token').value = ''; });
  dialog.querySelector('form').addEventListener('submit', event => {
    event.preventDefault();
    send();
  });
  return {
    update(status, away) {
      $('can-control').hidden = !status.can_control;
      $('no-control').hidden = status.can_control !== false;
      for (const name of Object.keys(ACTIONS)) $(name).disabled = away || (name === 'drain' && ['draining', 'stopped'].includes(status.phase?.name));
    },
  };
}
