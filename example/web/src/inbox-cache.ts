/**
 * lists (REST) ─► **inbox cache** ◄─ events (stream). Owns the entries of the query cache and their changes. An entry
 * is loaded once and then updated by events. It is reloaded only after the stream reports missed events.
 */
import { type QueryClient, type QueryKey, queryOptions } from '@tanstack/react-query'
import type { Api } from './api.js'
import {
  type Conversations,
  type ConversationsAction,
  conversationsReducer,
  NO_CONVERSATIONS,
} from './conversations-state.js'
import { EMPTY_THREAD, type Thread, type ThreadAction, threadReducer } from './thread-state.js'
import type { Dashboard } from './types.js'

const CONVERSATIONS = ['conversations']
const THREADS = ['thread']
const threadKey = (id: string): QueryKey => [...THREADS, id]

export function conversationsQuery(api: Api) {
  return queryOptions({
    queryKey: CONVERSATIONS,
    // Does not read the abort signal: a query that reads it is reverted when its last component unmounts during the
    // load, and the events received meanwhile would be lost.
    queryFn: async ({ client }): Promise<Conversations> => {
      updateConversations(client, { type: 'loading' }, NO_CONVERSATIONS)
      const listing = await api.conversations()
      const state = client.getQueryData<Conversations>(CONVERSATIONS) ?? NO_CONVERSATIONS
      return conversationsReducer(state, { type: 'loaded', listing })
    },
  })
}

/** Must be loaded after the list, whose cursor is the start of the stream: later events then reach both. */
export function threadQuery(api: Api, id: string) {
  return queryOptions({
    queryKey: threadKey(id),
    queryFn: async ({ client }): Promise<Thread> => {
      updateThread(client, id, { type: 'loading' }, EMPTY_THREAD)
      const { items } = await api.messages(id)
      const state = client.getQueryData<Thread>(threadKey(id)) ?? EMPTY_THREAD
      return threadReducer(state, { type: 'loaded', items })
    },
  })
}

/** One request for all data that a page needs at its start. Each part becomes an entry. */
export function dashboardQuery(api: Api) {
  return queryOptions({
    queryKey: ['dashboard'],
    queryFn: async ({ client }): Promise<Dashboard> => {
      const dashboard = await api.dashboard()
      for (const [part, data] of Object.entries(dashboard)) client.setQueryData([part], data)
      return dashboard
    },
  })
}

export function updateConversations(client: QueryClient, action: ConversationsAction, initial?: Conversations): void {
  update<Conversations>(client, CONVERSATIONS, (state = initial) => state && conversationsReducer(state, action))
}

/** Ignores a thread that is not in the cache: it is loaded when it is opened. */
export function updateThread(client: QueryClient, id: string, action: ThreadAction, initial?: Thread): void {
  update<Thread>(client, threadKey(id), (state = initial) => state && threadReducer(state, action))
}

/** Reloads visible entries immediately, other entries when they are opened. */
export async function reload(client: QueryClient): Promise<void> {
  await Promise.all([
    client.invalidateQueries({ queryKey: CONVERSATIONS }),
    client.invalidateQueries({ queryKey: THREADS }),
  ])
}

/** `setQueryData` marks an entry as fresh. An entry that must be reloaded is therefore marked again. */
function update<State>(client: QueryClient, queryKey: QueryKey, change: (state?: State) => State | undefined): void {
  const outdated = client.getQueryState(queryKey)?.isInvalidated === true
  client.setQueryData<State>(queryKey, change)
  if (outdated) void client.invalidateQueries({ queryKey, exact: true, refetchType: 'none' })
}
