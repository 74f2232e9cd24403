/** The tenants of the demo, and their accounts at the providers. */
import type { Provider } from './store/inbox-store.js'

interface Account {
  readonly provider: Provider
  /** The provider's id: WhatsApp's `phone_number_id`, the Messenger page, the Instagram account. */
  readonly id: string
  readonly name: string
}

export interface Tenant {
  readonly id: string
  readonly name: string
  readonly accounts: readonly Account[]
}

const TENANTS: readonly Tenant[] = [
  {
    id: 'acme',
    name: 'Acme Outdoor',
    accounts: [
      { provider: 'whatsapp', id: '106540352242922', name: 'Acme Support' },
      { provider: 'messenger', id: '1906385232743451', name: 'Acme Outdoor' },
    ],
  },
  {
    id: 'globex',
    name: 'Globex Studio',
    accounts: [{ provider: 'instagram', id: '17841405822304914', name: '@globex.studio' }],
  },
]

export function findTenant(id: string): Tenant | undefined {
  return TENANTS.find((tenant) => tenant.id === id)
}

export function tenantIds(): readonly string[] {
  return TENANTS.map(({ id }) => id)
}

/** Returns the tenant whose account received a message of a webhook. */
export function tenantOfAccount(provider: Provider, accountId: string): Tenant | undefined {
  return TENANTS.find(({ accounts }) =>
    accounts.some((account) => account.provider === provider && account.id === accountId),
  )
}
