/** The tenant's conversations, as the cache has them. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useMemo } from 'react'
import type { Api } from './api.js'
import { NO_CONVERSATIONS, newestFirst } from './conversations-state.js'
import { conversationsQuery, updateConversations } from './inbox-cache.js'
import type { ConversationSummary } from './types.js'

export interface ConversationsView {
  readonly conversations: readonly ConversationSummary[]
  /** Where the stream begins; `undefined` until the list is there. */
  readonly cursor: string | undefined
  readonly error: Error | null
  readonly reload: () => void
  readonly markRead: (id: string) => void
}

export function useConversations(api: Api): ConversationsView {
  const client = useQueryClient()
  const { data = NO_CONVERSATIONS, error, refetch } = useQuery(conversationsQuery(api))
  const conversations = useMemo(() => newestFirst(data), [data])
  // Should it fail, the badge is back with the next list.
  const { mutate: markRead } = useMutation({
    mutationFn: (id: string) => api.markRead(id),
    onMutate: (id) => updateConversations(client, { type: 'read', id }),
  })
  return { conversations, cursor: data.cursor, error, reload: () => void refetch(), markRead }
}
