/** The data that a page needs at its start: one request fills the cache, and components read the parts. */
import { skipToken, useQuery } from '@tanstack/react-query'
import type { Api } from './api.js'
import { dashboardQuery } from './inbox-cache.js'
import type { Dashboard } from './types.js'

/** If the request fails, the page works without names. */
export function useDashboardInit(api: Api): void {
  useQuery(dashboardQuery(api))
}

/** Reads a part. Sends no request. */
export function useDashboardPart<Part extends keyof Dashboard>(part: Part): Dashboard[Part] | undefined {
  return useQuery<Dashboard[Part]>({ queryKey: [part], queryFn: skipToken }).data
}
