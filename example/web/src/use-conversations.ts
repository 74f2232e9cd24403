/** The conversations of the tenant, from the cache. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useMemo } from 'react'
import type { Api } from './api.js'
import { NO_CONVERSATIONS, newestFirst } from './conversations-state.js'
import { conversationsQuery, updateConversations } from './inbox-cache.js'
import type { ConversationSummary } from './types.js'

export interface ConversationsView {
  readonly conversations: readonly ConversationSummary[]
  /** The cursor to open the stream with; `undefined` until the list is loaded. */
  readonly cursor: string | undefined
  readonly error: Error | null
  readonly reload: () => void
  readonly markRead: (id: string) => void
}

export function useConversations(api: Api): ConversationsView {
  const client = useQueryClient()
  const { data = NO_CONVERSATIONS, error, refetch } = useQuery(conversationsQuery(api))
  const conversations = useMemo(() => newestFirst(data), [data])
  // If the request fails, the next list restores the badge.
  const { mutate: markRead } = useMutation({
    mutationFn: (id: string) => api.markRead(id),
    onMutate: (id) => updateConversations(client, { type: 'read', id }),
  })
  return { conversations, cursor: data.cursor, error, reload: () => void refetch(), markRead }
}
