/** One conversation's messages, as the cache has them, and the replies on their way out. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import type { Api } from './api.js'
import { threadQuery, updateThread } from './inbox-cache.js'
import { EMPTY_THREAD, type Thread } from './thread-state.js'

export interface ThreadView {
  readonly thread: Thread
  readonly error: Error | null
  readonly reload: () => void
  readonly send: (text: string) => void
  /** Sends a reply that failed again, under its first key. */
  readonly retry: (key: string) => void
}

interface Reply {
  /** The Idempotency-Key. */
  readonly key: string
  readonly text: string
}

/** @param begun whether the list is there, and with it where the stream begins */
export function useThread(api: Api, conversationId: string, begun: boolean): ThreadView {
  const client = useQueryClient()
  const query = useQuery({ ...threadQuery(api, conversationId), enabled: begun })
  const thread = query.data ?? EMPTY_THREAD

  // The callbacks are called also when another thread has been opened meanwhile.
  const { mutate } = useMutation({
    mutationFn: ({ key, text }: Reply) => api.send(conversationId, text, key),
    // One after the other, so that two replies in a row arrive in a row.
    scope: { id: conversationId },
    onMutate: ({ key, text }) => {
      updateThread(client, conversationId, { type: 'sending', key, text, at: new Date().toISOString() })
    },
    onSuccess: (message, { key }) => updateThread(client, conversationId, { type: 'sent', key, message }),
    // It may have got there all the same: sending again under the same key is harmless.
    onError: (_, { key }) => updateThread(client, conversationId, { type: 'failed', key }),
  })

  return {
    thread,
    error: query.error,
    reload: () => void query.refetch(),
    send: (text) => mutate({ key: createKey(), text }),
    retry: (key) => {
      const pending = thread.pending.find((each) => each.key === key)
      if (pending?.failed) mutate({ key, text: pending.text })
    },
  }
}

/** `crypto.randomUUID` exists on https and localhost only; this everywhere. */
function createKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
