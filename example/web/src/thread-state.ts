/**
 * One conversation's messages as a reducer: what the query cache holds of them. Pure.
 *
 * A reply is on the page at once (`pending`), and comes back twice: as the answer to its request and as an event, in
 * either order. Both have the message's id, the pending one has not. So the user's own messages that arrive while a
 * request is under way are held until its answer says which of them it is.
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
  /** Whether a list has come, so that what is missing is not there. */
  readonly loaded: boolean
  /** In the order in which they came. */
  readonly messages: readonly Message[]
  readonly pending: readonly PendingMessage[]
  readonly held: readonly Message[]
  /** While a list is loaded: what arrived meanwhile, which it may not have. Whatever else was known, it replaces. */
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

/** Lets go what was held, once no answer is awaited any more. */
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

/** The first list, then what only the second has. */
function merge(first: readonly Message[], second: readonly Message[]): readonly Message[] {
  const known = new Set(first.map(({ id }) => id))
  const more = second.filter(({ id }) => !known.has(id))
  return more.length === 0 ? first : [...first, ...more]
}
