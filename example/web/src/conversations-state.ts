/**
 * The reducer of the list of conversations, as the query cache holds it. Pure. Events may be late, and may repeat what
 * the list already contains.
 */
import type { ConversationSummary, Listing } from './types.js'

type ById = ReadonlyMap<string, ConversationSummary>

export interface Conversations {
  /** The cursor from which the stream continues the list; `undefined` until the list is loaded. */
  readonly cursor: string | undefined
  readonly byId: ById
  /** Changes since the current load started. The loaded list may not contain them; it replaces everything else. */
  readonly sinceLoading: ReadonlyMap<string, ConversationSummary | 'read'>
}

export type ConversationsAction =
  | { readonly type: 'loading' }
  | { readonly type: 'loaded'; readonly listing: Listing<ConversationSummary> }
  | { readonly type: 'changed'; readonly conversation: ConversationSummary }
  | { readonly type: 'read'; readonly id: string }

export const NO_CONVERSATIONS: Conversations = { cursor: undefined, byId: new Map(), sinceLoading: new Map() }

export function conversationsReducer(state: Conversations, action: ConversationsAction): Conversations {
  switch (action.type) {
    case 'loading':
      return { ...state, sinceLoading: new Map() }
    case 'loaded': {
      let byId: ById = new Map(action.listing.items.map((item) => [item.id, item]))
      for (const [id, change] of state.sinceLoading) {
        byId = change === 'read' ? withRead(byId, id) : withNewer(byId, change)
      }
      return { cursor: action.listing.cursor, byId, sinceLoading: new Map() }
    }
    case 'changed': {
      const { conversation } = action
      const before = state.sinceLoading.get(conversation.id)
      const isNewer = before === undefined || before === 'read' || before.lastAt <= conversation.lastAt
      return {
        ...state,
        byId: withNewer(state.byId, conversation),
        sinceLoading: isNewer ? new Map(state.sinceLoading).set(conversation.id, conversation) : state.sinceLoading,
      }
    }
    case 'read': {
      const before = state.sinceLoading.get(action.id)
      const change = before === undefined || before === 'read' ? 'read' : { ...before, unread: 0 }
      const sinceLoading = new Map(state.sinceLoading).set(action.id, change)
      return { ...state, byId: withRead(state.byId, action.id), sinceLoading }
    }
  }
}

export function newestFirst({ byId }: Conversations): readonly ConversationSummary[] {
  return [...byId.values()].sort((a, b) => (a.lastAt < b.lastAt ? 1 : a.lastAt > b.lastAt ? -1 : 0))
}

function withNewer(byId: ById, given: ConversationSummary): ById {
  const known = byId.get(given.id)
  return known !== undefined && known.lastAt > given.lastAt ? byId : new Map(byId).set(given.id, given)
}

function withRead(byId: ById, id: string): ById {
  const known = byId.get(id)
  return known === undefined || known.unread === 0 ? byId : new Map(byId).set(id, { ...known, unread: 0 })
}
