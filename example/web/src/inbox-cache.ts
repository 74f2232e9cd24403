/**
 * lists (REST) ─► **inbox cache** ◄─ events (stream): the query cache's entries, and how each is changed. An entry is loaded
 * once and kept by events; only where the stream says that something was missed it is loaded anew.
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
    // The abort signal stays unused: what takes it is set back to before the load when nobody looks any more, and
    // what events have brought meanwhile would be gone.
    queryFn: async ({ client }): Promise<Conversations> => {
      updateConversations(client, { type: 'loading' }, NO_CONVERSATIONS)
      const listing = await api.conversations()
      const state = client.getQueryData<Conversations>(CONVERSATIONS) ?? NO_CONVERSATIONS
      return conversationsReducer(state, { type: 'loaded', listing })
    },
  })
}

/** Only to be loaded once the list is there, where the stream begins: what comes after that reaches both. */
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

/** One request for all that a page needs at its start; its parts become entries of their own. */
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

/** A thread that nobody has opened is left to be loaded when somebody does. */
export function updateThread(client: QueryClient, id: string, action: ThreadAction, initial?: Thread): void {
  update<Thread>(client, threadKey(id), (state = initial) => state && threadReducer(state, action))
}

/** What is in view at once, the rest when it is opened. */
export async function reload(client: QueryClient): Promise<void> {
  await Promise.all([
    client.invalidateQueries({ queryKey: CONVERSATIONS }),
    client.invalidateQueries({ queryKey: THREADS }),
  ])
}

/** TanStack takes what it is given for the latest; an entry that must be loaded anew stays one. */
function update<State>(client: QueryClient, queryKey: QueryKey, change: (state?: State) => State | undefined): void {
  const outdated = client.getQueryState(queryKey)?.isInvalidated === true
  client.setQueryData<State>(queryKey, change)
  if (outdated) void client.invalidateQueries({ queryKey, exact: true, refetchType: 'none' })
}
