import { QueryClient } from '@tanstack/react-query'
import { ApiError } from './api.js'

const MAX_RETRIES = 3

/** A cache that does not refetch: the stream's events keep its entries up to date. */
export function createQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: Number.POSITIVE_INFINITY,
        refetchOnWindowFocus: false,
        refetchOnReconnect: false,
        // The reducers keep unchanged objects, so comparing all messages after each event is unnecessary.
        structuralSharing: false,
        retry: (failures, error) => failures < MAX_RETRIES && isRetryable(error),
      },
      // The user retries a failed reply. While offline a reply waits for the network.
      mutations: { retry: false },
    },
  })
}

function isRetryable(error: Error): boolean {
  return !(error instanceof ApiError) || error.status >= 500 || error.status === 429
}
