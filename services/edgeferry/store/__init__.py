from edgeferry.store.open import open_store as open_store
