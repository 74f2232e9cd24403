import { expect } from 'chai'
import {
  type ConversationsAction,
  conversationsReducer,
  NO_CONVERSATIONS,
  newestFirst,
} from '../../example/web/src/conversations-state.js'
import { EMPTY_THREAD, type Thread, type ThreadAction, threadReducer } from '../../example/web/src/thread-state.js'
import type { ConversationSummary, Message } from '../../example/web/src/types.js'

function message(id: string): Message {
  return {
    id,
    conversation_id: 'c',
    direction: 'out',
    text: `text of ${id}`,
    from: 'dana',
    at: '2026-03-01T12:00:00.000Z',
  }
}

function play(...actions: readonly ThreadAction[]): Thread {
  return actions.reduce(threadReducer, EMPTY_THREAD)
}

const sending = (key: string): ThreadAction => ({ type: 'sending', key, text: key, at: '2026-03-01T12:00:00.000Z' })
const arrived = (id: string, own = false): ThreadAction => ({ type: 'arrived', message: message(id), own })
const sent = (key: string, id: string): ThreadAction => ({ type: 'sent', key, message: message(id) })
const loaded = (...ids: string[]): ThreadAction => ({ type: 'loaded', items: ids.map(message) })

function idsOf({ messages, pending }: Thread): string[] {
  return [...messages.map(({ id }) => id), ...pending.map(({ key }) => `…${key}`)]
}

describe("the page's thread", () => {
  it('shows a message once that is in the list and arrives as an event', () => {
    expect(idsOf(play(loaded('a', 'b'), arrived('b'), arrived('c'), arrived('c')))).to.deep.equal(['a', 'b', 'c'])
  })

  it('shows a reply once, whether its response or its event arrives first', () => {
    expect(idsOf(play(sending('k'), arrived('a', true)))).to.deep.equal(['…k'])
    expect(idsOf(play(sending('k'), arrived('a', true), sent('k', 'a')))).to.deep.equal(['a'])
    expect(idsOf(play(sending('k'), sent('k', 'a'), arrived('a', true)))).to.deep.equal(['a'])
  })

  it('keeps both of two replies that are in flight at the same time', () => {
    const both = [sending('k'), sending('l'), arrived('a', true), arrived('b', true)]
    expect(idsOf(play(...both, sent('l', 'b')))).to.deep.equal(['b', '…k'])
    expect(idsOf(play(...both, sent('l', 'b'), sent('k', 'a')))).to.deep.equal(['b', 'a'])
  })

  it("shows messages of others immediately, and the user's own from another page when no request is in flight", () => {
    const state = play(sending('k'), arrived('other'), arrived('own elsewhere', true))
    expect(idsOf(state)).to.deep.equal(['other', '…k'])
    expect(idsOf(threadReducer(state, sent('k', 'a')))).to.deep.equal(['other', 'a', 'own elsewhere'])
  })

  it('keeps a failed reply, and replaces it when a retry succeeds', () => {
    const failed = play(sending('k'), arrived('a', true), { type: 'failed', key: 'k' })
    expect(failed.pending).to.have.length(1)
    expect(idsOf(failed)).to.deep.equal(['a', '…k'])
    expect(idsOf([sending('k'), sent('k', 'a')].reduce(threadReducer, failed))).to.deep.equal(['a'])
  })

  it('replaces its messages on a reload, and keeps messages that arrive during the reload', () => {
    const before = play(loaded('lost', 'a'))
    const again: readonly ThreadAction[] = [{ type: 'loading' }, arrived('b'), arrived('c'), loaded('a', 'b')]
    expect(idsOf(again.reduce(threadReducer, before))).to.deep.equal(['a', 'b', 'c'])
  })
})

describe("the page's list of conversations", () => {
  const summary = (id: string, minute: number, unread = 0): ConversationSummary => ({
    id,
    provider: 'whatsapp',
    accountId: '1',
    contact: id,
    lastText: `minute ${minute}`,
    lastAt: `2026-03-01T12:${String(minute).padStart(2, '0')}:00.000Z`,
    unread,
  })

  const listed = (items: readonly ConversationSummary[]): ConversationsAction => ({
    type: 'loaded',
    listing: { items, cursor: 'somewhere' },
  })

  function list(...actions: readonly ConversationsAction[]): (string | number)[][] {
    const state = actions.reduce(conversationsReducer, NO_CONVERSATIONS)
    return newestFirst(state).map(({ id, lastText, unread }) => [id, lastText, unread])
  }

  it('begins with the newest conversation, and ignores an older state that arrives late', () => {
    const actions: readonly ConversationsAction[] = [
      listed([summary('a', 5), summary('b', 3)]),
      { type: 'changed', conversation: summary('b', 6, 1) },
      { type: 'changed', conversation: summary('b', 4, 7) },
    ]
    expect(list(...actions)).to.deep.equal([
      ['b', 'minute 6', 1],
      ['a', 'minute 5', 0],
    ])
  })

  it('clears a badge', () => {
    expect(list(listed([summary('a', 5, 2)]), { type: 'read', id: 'a' })).to.deep.equal([['a', 'minute 5', 0]])
  })

  it('drops missing conversations on a reload, and keeps changes that arrive during the reload', () => {
    const actions: readonly ConversationsAction[] = [
      listed([summary('lost', 9), summary('a', 8)]),
      { type: 'loading' },
      { type: 'changed', conversation: summary('new', 7, 1) },
      listed([summary('a', 1)]),
    ]
    expect(list(...actions)).to.deep.equal([
      ['new', 'minute 7', 1],
      ['a', 'minute 1', 0],
    ])
  })

  it('keeps a badge cleared that was cleared during a reload', () => {
    const read: ConversationsAction = { type: 'read', id: 'a' }
    const older = listed([summary('a', 5, 2)])
    expect(list(older, { type: 'loading' }, read, older)).to.deep.equal([['a', 'minute 5', 0]])
    const changed: ConversationsAction = { type: 'changed', conversation: summary('a', 6, 3) }
    expect(list(older, { type: 'loading' }, changed, read, older)).to.deep.equal([['a', 'minute 6', 0]])
    expect(list(older, { type: 'loading' }, read, changed, older)).to.deep.equal([['a', 'minute 6', 3]])
  })
})
