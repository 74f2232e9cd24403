/** The data that the page needs once, when it starts. */
import { type DashboardRouter, dashboardInit, type KeyValueStore } from 'express-sse-kit'
import { findTenant } from '../tenants.js'

/** `GET /init`. Needs `authenticate()` before it. */
export function dashboardRoutes(
  keyValues: KeyValueStore,
  { production }: { readonly production: boolean },
): DashboardRouter {
  return dashboardInit({
    store: keyValues,
    load: ({ user, tenant: tenantId }) => {
      const tenant = findTenant(tenantId)
      return {
        profile: { user, name: displayName(user), role: 'agent' },
        tenant: { id: tenantId, name: tenant?.name ?? tenantId, settings: { locale: 'en', timeZone: 'UTC' } },
        features: { replies: true, readReceipts: true, comparison: !production },
        channels: tenant?.accounts ?? [],
      }
    },
  })
}

/** `dana.reyes` → `Dana Reyes` */
function displayName(user: string): string {
  const words = user.split(/[._-]+/).filter((word) => word !== '')
  return words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(' ') || user
}
