/**
 * The reducer of one conversation's messages, as the query cache holds them. Pure.
 *
 * A reply is shown immediately (`pending`). The server returns it twice, in either order: in the response to the
 * request, and as an event. Both have the id of the message, the pending reply does not. So the user's own messages
 * that arrive during a request are held until the response identifies the reply.
 */
import type { Message } from './types.js'

interface PendingMessage {
  /** The request's Idempotency-Key. */
  readonly key: string
  readonly text: string
  /** ISO 8601. */
  readonly at: string
  readonly failed: boolean
}

export interface Thread {
  /** Whether the list was loaded. */
  readonly loaded: boolean
  /** In the order of arrival. */
  readonly messages: readonly Message[]
  readonly pending: readonly PendingMessage[]
  readonly held: readonly Message[]
  /** Messages since the current load started. The loaded list may not contain them; it replaces all others. */
  readonly sinceLoading: readonly Message[]
}

export type ThreadAction =
  | { readonly type: 'loading' }
  | { readonly type: 'loaded'; readonly items: readonly Message[] }
  | { readonly type: 'arrived'; readonly message: Message; readonly own: boolean }
  | { readonly type: 'sending'; readonly key: string; readonly text: string; readonly at: string }
  | { readonly type: 'sent'; readonly key: string; readonly message: Message }
  | { readonly type: 'failed'; readonly key: string }

export const EMPTY_THREAD: Thread = { loaded: false, messages: [], pending: [], held: [], sinceLoading: [] }

export function threadReducer(state: Thread, action: ThreadAction): Thread {
  switch (action.type) {
    case 'loading':
      return { ...state, sinceLoading: [] }
    case 'loaded':
      return { ...state, loaded: true, messages: merge(action.items, state.sinceLoading), sinceLoading: [] }
    case 'arrived': {
      const hold = action.own && isSending(state) && !has(state.messages, action.message.id)
      return hold ? { ...state, held: merge(state.held, [action.message]) } : add(state, [action.message])
    }
    case 'sending': {
      const { key, text, at } = action
      const others = state.pending.filter((pending) => pending.key !== key)
      return { ...state, pending: [...others, { key, text, at, failed: false }] }
    }
    case 'sent': {
      const pending = state.pending.filter(({ key }) => key !== action.key)
      const held = state.held.filter(({ id }) => id !== action.message.id)
      return release(add({ ...state, pending, held }, [action.message]))
    }
    case 'failed': {
      const pending = state.pending.map((each) => (each.key === action.key ? { ...each, failed: true } : each))
      return release({ ...state, pending })
    }
  }
}

function add(state: Thread, messages: readonly Message[]): Thread {
  return {
    ...state,
    messages: merge(state.messages, messages),
    sinceLoading: merge(state.sinceLoading, messages),
  }
}

/** Adds the held messages when no request is pending. */
function release(state: Thread): Thread {
  if (isSending(state) || state.held.length === 0) return state
  return { ...add(state, state.held), held: [] }
}

function isSending({ pending }: Thread): boolean {
  return pending.some(({ failed }) => !failed)
}

function has(messages: readonly Message[], id: string): boolean {
  return messages.some((message) => message.id === id)
}

/** The first list, then the messages that are only in the second. */
function merge(first: readonly Message[], second: readonly Message[]): readonly Message[] {
  const known = new Set(first.map(({ id }) => id))
  const more = second.filter(({ id }) => !known.has(id))
  return more.length === 0 ? first : [...first, ...more]
}
