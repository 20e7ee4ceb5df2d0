/** Removing a member's lost second factor: what will happen, the caller's code, and what has happened. */
import { Problem, get, post } from './api.js';
import { Dialog } from './dialog.js';
import { data, h } from './dom.js';
import { factorForm } from './factor.js';
import { explain, notice, problemNotice, say } from './notice.js';
import { address } from './place.js';
import { session } from './session.js';
import { rich, t, time } from './texts.js';

/** Records of a member among which the one of this reset is looked for. */
const RECENT = 20;

/** Opens the question for `member`. `changed` is told once it is closed, where the member may have been changed. */
export function resetDialog(member, changed) {
  const user = data(member.username, 'strong');
  let isTried = false;
  const dialog = new Dialog(() => isTried && changed());
  look();

  /** Asks the server what a reset would do now. */
  async function look(said = null) {
    dialog.show(rich('reset.title', { user }), h('p', { class: 'quiet-text' }, t('loading')));
    try {
      preview(await get('second-factor.preview', { userId: member._id }), said);
    } catch (problem) {
      dialog.show(
        rich('reset.title', { user }),
        problemNotice(problem, () => look(said)),
        closing(),
      );
    }
  }

  function preview(would, said) {
    const title = rich('reset.title', { user });
    if (would.refused) {
      const { error: said, errorType: id } = would.refused;
      const why = explain(new Problem('refused', { id, said }));
      dialog.show(title, notice('warn', h('p', {}, t('reset.impossible'), ' ', why)), closing());
      return;
    }
    if (would.removes.length === 0) {
      dialog.show(
        title,
        said,
        notice('quiet', h('p', {}, rich('reset.nothing', { user: data(member.username, 'strong') }))),
        closing(),
      );
      return;
    }
    dialog.show(
      title,
      said,
      addresses(would.member),
      h('h3', {}, t('reset.will')),
      h(
        'ul',
        { class: 'consequences' },
        consequences(would).map((words) => h('li', {}, words)),
      ),
      would.mails.length === 0 && notice('warn', h('p', {}, rich('reset.untold', { user: data(member.username) }))),
      member._id === session().userId && notice('warn', h('p', {}, t('reset.self'))),
      notice('quiet', h('p', {}, rich('reset.sure', { user: data(member.username) }))),
      factorForm({
        details: session().asks,
        label: t('reset.do'),
        cancel: () => dialog.close(),
        act: (factor) => reset(factor, would),
      }),
    );
  }

  async function reset(factor, would) {
    isTried = true;
    let answer;
    try {
      answer = await post('users.resetTOTP', { userId: member._id }, factor);
    } catch (problem) {
      if (problem.kind !== 'network' && problem.kind !== 'failed') throw problem;
      unknown(problem);
      return;
    }
    await done(would, answer.request);
  }

  /** No answer has come: it may have been done. */
  function unknown(problem) {
    dialog.show(
      t('reset.unknown'),
      notice('bad', h('p', {}, ...explain(problem)), h('p', {}, t('reset.unknown.lead'))),
      h(
        'div',
        { class: 'actions' },
        h('button', { type: 'button', class: 'primary', on: { click: settle } }, t('reset.settle')),
      ),
    );
  }

  /** Looks whether there is still something to remove. */
  async function settle() {
    try {
      const now = await get('second-factor.preview', { userId: member._id });
      if (!now.refused && now.removes.length === 0) {
        await done(now, undefined);
      } else {
        preview(now, notice('warn', h('p', {}, t('reset.not-done'))));
      }
    } catch (problem) {
      unknown(problem);
    }
  }

  /** Tells what was done, as the member and the audit trail show it now. */
  async function done(would, request) {
    const title = rich('reset.done', { user });
    dialog.show(title, h('p', { class: 'quiet-text' }, t('loading')));
    let facts;
    try {
      facts = await factsOf();
    } catch (problem) {
      facts = [notice('good', h('p', {}, t('reset.done.lead'))), problemNotice(problem)];
    }
    say(t('reset.done.said', { user: member.username }));
    dialog.show(title, facts, next(), closing('primary'));

    async function factsOf() {
      const [{ records }, { member: now }] = await Promise.all([
        get('second-factor.audit', { of: member._id, action: 'reset-totp', count: RECENT }),
        get('second-factor.preview', { userId: member._id }),
      ]);
      const record = records.find((record) => record.request === request);
      if (record?.outcome === 'nothing-enrolled') {
        return notice('quiet', h('p', {}, rich('reset.nothing', { user: data(member.username, 'strong') })));
      }
      const facts = [
        !now.secondFactor.totp && t('reset.done.removed'),
        request !== undefined && ended(would),
        record && (record.told ? rich('reset.done.told', { count: record.told }) : t('reset.done.untold')),
        record && rich('reset.done.recorded', { at: time(record.at), request: data(record.request, 'code') }),
      ];
      return notice(
        'good',
        h(
          'ul',
          {},
          facts.filter(Boolean).map((words) => h('li', {}, words)),
        ),
      );
    }
  }

  function next() {
    const link = (to, text) => h('a', { href: to, on: { click: () => dialog.close() } }, text);
    return [
      h('p', {}, rich('reset.next', { user: data(member.username) })),
      h(
        'p',
        { class: 'others' },
        link(address('audit', { of: member.username }), t('reset.see.audit')),
        link(address('mail'), t('reset.see.mail')),
      ),
    ];
  }

  function closing(kind = false) {
    return h(
      'div',
      { class: 'actions' },
      h('button', { type: 'button', class: kind, on: { click: () => dialog.close() } }, t('close')),
    );
  }
}

/** Whom it is about: one who was asked for by name may not be the one who called. */
function addresses({ emails, name }) {
  return h(
    'p',
    { class: 'quiet-text' },
    name && [data(name), ' · '],
    emails.length === 0 ? t('reset.no-address') : data(emails.map(({ address }) => address).join(', ')),
  );
}

function consequences(would) {
  const { removes, member, mails } = would;
  const removed = {
    totp: () => t('reset.removes.totp'),
    backupCodes: () => rich('reset.removes.backup', { count: member.secondFactor.backupCodesRemaining }),
    pendingKey: () => t('reset.removes.pending'),
    failures: () => t('reset.removes.failures'),
  };
  return [
    ...removes.map((what) => (removed[what] ? removed[what]() : data(what, 'code'))),
    ending(would),
    mails.length > 0 && [
      rich('reset.mails', { count: mails.length }),
      h(
        'ul',
        {},
        mails.map(({ to, subject }) => h('li', {}, data(to, 'strong'), ' ', data(subject, 'q', { lang: 'en' }))),
      ),
    ],
    t('reset.stays'),
  ].filter(Boolean);
}

/** The sessions and tokens that end. */
function ending({ sessions, tokens }) {
  const words = rich('reset.sessions', { count: sessions });
  return tokens > 0 ? [words, ' ', rich('reset.tokens', { count: tokens })] : words;
}

/** Those that have ended. */
function ended({ sessions, tokens }) {
  const words = rich('reset.done.sessions', { count: sessions });
  return tokens > 0 ? [words, ' ', rich('reset.done.tokens', { count: tokens })] : words;
}
