import { QueryClient } from '@tanstack/react-query'
import { ApiError } from './api.js'

const MOST_RETRIES = 3

/** A cache that asks for nothing by itself: what is in it stays right by the stream's events. */
export function createQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: Number.POSITIVE_INFINITY,
        refetchOnWindowFocus: false,
        refetchOnReconnect: false,
        // The reducers keep what has not changed; comparing every message with every event would be for nothing.
        structuralSharing: false,
        retry: (failures, error) => failures < MOST_RETRIES && mayGetBetter(error),
      },
      // A reply that failed is sent again by its writer; offline it waits for the network.
      mutations: { retry: false },
    },
  })
}

function mayGetBetter(error: Error): boolean {
  return !(error instanceof ApiError) || error.status >= 500 || error.status === 429
}
