/** Signed in or not, for a page that needs a user. */
import { useEffect, useState } from 'react'
import { onOtherSession, restoreSession, type Session, signIn, signOut } from './session.js'

export interface SessionState {
  readonly session: Session | undefined
  readonly busy: boolean
  /** Why signing in did not work. */
  readonly error: string | undefined
  enter(user: string, tenant: string): void
  leave(): void
}

/** The session of the browser, or the one that the page's link asks for: `?user=dana&tenant=acme` signs in directly. */
export function useSession(): SessionState {
  const [session, setSession] = useState<Session | undefined>(() => (linkedUser() ? undefined : restoreSession()))
  const [busy, setBusy] = useState(() => linkedUser() !== undefined)
  const [error, setError] = useState<string>()

  function enter(user: string, tenant: string): void {
    setBusy(true)
    setError(undefined)
    signIn(user, tenant)
      .then(setSession, (reason: unknown) => setError(reason instanceof Error ? reason.message : String(reason)))
      .finally(() => setBusy(false))
  }

  // biome-ignore lint/correctness/useExhaustiveDependencies: once, for the link that opened the page
  useEffect(() => {
    const linked = linkedUser()
    if (linked === undefined) return
    // The name has done its work: a reload or a bookmark should not sign in anew.
    history.replaceState(null, '', location.pathname + location.hash)
    enter(linked.user, linked.tenant)
  }, [])

  useEffect(() => onOtherSession(session, setSession), [session])

  function leave(): void {
    signOut().catch((reason: unknown) => {
      // It runs out by itself; whoever left need not be troubled.
      console.warn('The server could not be told that the token is no longer used', reason)
    })
    history.replaceState(null, '', location.pathname)
    setSession(undefined)
  }

  return { session, busy, error, enter, leave }
}

function linkedUser(): { readonly user: string; readonly tenant: string } | undefined {
  const query = new URLSearchParams(location.search)
  const user = query.get('user')
  return user ? { user, tenant: query.get('tenant') ?? 'acme' } : undefined
}
