/** What the page knows from its start: one request seeds the cache, and each part is read where it is shown. */
import { skipToken, useQuery } from '@tanstack/react-query'
import type { Api } from './api.js'
import { dashboardQuery } from './inbox-cache.js'
import type { Dashboard } from './types.js'

/** The page works without: it then has no names. */
export function useDashboardInit(api: Api): void {
  useQuery(dashboardQuery(api))
}

/** Nobody asks for a part by itself. */
export function useDashboardPart<Part extends keyof Dashboard>(part: Part): Dashboard[Part] | undefined {
  return useQuery<Dashboard[Part]>({ queryKey: [part], queryFn: skipToken }).data
}
