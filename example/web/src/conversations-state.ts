/** The list of conversations as a reducer. Pure. Events may repeat what the list already says, and come late. */
import type { ConversationSummary } from './types.js'

type ById = ReadonlyMap<string, ConversationSummary>

export interface Conversations {
  readonly byId: ById
  /** While a list is loaded: what changed meanwhile, which it may not have. Whatever else was known, it replaces. */
  readonly sinceLoading: ById
}

export type ConversationsAction =
  | { readonly type: 'loading' }
  | { readonly type: 'loaded'; readonly items: readonly ConversationSummary[] }
  | { readonly type: 'changed'; readonly conversation: ConversationSummary }
  | { readonly type: 'read'; readonly id: string }

export const NO_CONVERSATIONS: Conversations = { byId: new Map(), sinceLoading: new Map() }

export function conversationsReducer(
  { byId, sinceLoading }: Conversations,
  action: ConversationsAction,
): Conversations {
  switch (action.type) {
    case 'loading':
      return { byId, sinceLoading: new Map() }
    case 'loaded': {
      const listed = new Map(action.items.map((item) => [item.id, item]))
      return { byId: [...sinceLoading.values()].reduce(withNewer, listed), sinceLoading: new Map() }
    }
    case 'changed':
      return {
        byId: withNewer(byId, action.conversation),
        sinceLoading: withNewer(sinceLoading, action.conversation),
      }
    case 'read':
      return { byId: withRead(byId, action.id), sinceLoading: withRead(sinceLoading, action.id) }
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
